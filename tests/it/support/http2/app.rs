//! An app that speaks HTTP/2 with prior knowledge.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Content, check_for_app, lock, read_content, read_data, runtime, send_all, wait};
use crate::support::Sidecar;

/// One HTTP/2 connection of an app.
pub struct Http2App {
    address: SocketAddr,
    sender: SendRequest<Bytes>,
    ended: Arc<Mutex<Option<Result<(), h2::Error>>>>,
    task: JoinHandle<()>,
}

/// One stream of an app.
pub struct Call {
    response: Option<ResponseFuture>,
    upload: SendStream<Bytes>,
    download: Option<RecvStream>,
}

impl Http2App {
    /// A connection to bearerd's listener.
    #[track_caller]
    pub fn of(bearerd: &Sidecar) -> Self {
        Self::with(bearerd, &Builder::new())
    }

    /// The same, with settings of its own.
    #[track_caller]
    pub fn with(bearerd: &Sidecar, settings: &Builder) -> Self {
        let address = bearerd.app().address();
        let settings = settings.clone();
        let handshake = runtime().spawn(async move {
            let stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            settings.handshake(stream).await.expect("settings are exchanged")
        });
        let (sender, connection) = wait(handshake).expect("a connection");
        let ended = Arc::<Mutex<_>>::default();
        let told = Arc::clone(&ended);
        let task = runtime().spawn(async move {
            let result = connection.await;
            *lock(&told) = Some(result);
        });
        Self { address, sender, ended, task }
    }

    /// A request with fields; its authority is the listener's.
    pub fn request(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    /// Sends a request; `ends` says that no body follows.
    #[track_caller]
    pub fn send(&self, request: Request<()>, ends: bool) -> Call {
        let sent = wait(async {
            let mut sender = self.sender.clone().ready().await?;
            sender.send_request(request, ends)
        });
        let (response, upload) = sent.expect("the request is sent");
        Call { response: Some(response), upload, download: None }
    }

    /// Sends a request, or says why it cannot be sent any more.
    pub fn try_send(&self, request: Request<()>, ends: bool) -> Result<Call, h2::Error> {
        let (response, upload) = wait(async {
            let mut sender = self.sender.clone().ready().await?;
            sender.send_request(request, ends)
        })?;
        Ok(Call { response: Some(response), upload, download: None })
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Call {
        self.send(self.request("GET", path, &[]), true)
    }

    /// A request with a body, sent whole.
    #[track_caller]
    pub fn post(&self, path: &str, body: &[u8]) -> Call {
        let mut call = self.send(self.request("POST", path, &[]), false);
        call.upload(body, true);
        call
    }

    /// Waits for the end of the connection, and says how it ended.
    #[track_caller]
    pub fn ended(self) -> Result<(), h2::Error> {
        wait(self.task).expect("no panic");
        lock(&self.ended).take().expect("it has ended")
    }
}

impl Call {
    /// Waits for the head of the answer.
    #[track_caller]
    pub fn head(&mut self) -> Response<()> {
        self.try_head().expect("an answer")
    }

    /// Waits for the head of the answer, or for what comes in its place.
    pub fn try_head(&mut self) -> Result<Response<()>, h2::Error> {
        let answer = wait(self.response.take().expect("it was not read yet"))?;
        check_for_app(answer.headers(), b"");
        let (parts, download) = answer.into_parts();
        self.download = Some(download);
        Ok(Response::from_parts(parts, ()))
    }

    /// Waits for the next data; `None` at the end of the body.
    #[track_caller]
    pub fn data(&mut self) -> Option<Bytes> {
        let stream = self.download.as_mut().expect("the head was read");
        let data = wait(read_data(stream)).expect("data");
        check_for_app(&HeaderMap::new(), data.as_deref().unwrap_or_default());
        data
    }

    /// Waits for so many bytes.
    #[track_caller]
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend(self.data().expect("more data"));
        }
        bytes
    }

    /// Reads the rest of the answer to its end.
    #[track_caller]
    pub fn rest(&mut self) -> Content {
        self.try_rest().expect("a whole answer")
    }

    /// Reads the rest of the answer to its end, whichever end that is.
    pub fn try_rest(&mut self) -> Result<Content, h2::Error> {
        let content = wait(read_content(self.download.as_mut().expect("the head was read")))?;
        check_for_app(&content.trailers, &content.body);
        Ok(content)
    }

    /// The whole answer.
    #[track_caller]
    pub fn answer(mut self) -> (Response<()>, Content) {
        let head = self.head();
        let content = self.rest();
        (head, content)
    }

    /// The status and the body of the answer, as text.
    #[track_caller]
    pub fn text(self) -> (u16, String) {
        let (head, content) = self.answer();
        (head.status().as_u16(), String::from_utf8_lossy(&content.body).into_owned())
    }

    /// Sends data as the windows allow.
    #[track_caller]
    pub fn upload(&mut self, data: &[u8], ends: bool) {
        self.try_upload(data, ends).expect("the data is taken");
    }

    /// The same, on a stream that may be over.
    pub fn try_upload(&mut self, data: &[u8], ends: bool) -> Result<(), h2::Error> {
        wait(send_all(&mut self.upload, Bytes::copy_from_slice(data), ends))
    }

    /// Sends trailers, which end the request.
    #[track_caller]
    pub fn trailers(&mut self, trailers: HeaderMap) {
        self.upload.send_trailers(trailers).expect("they are taken");
    }

    /// Ends the stream at once.
    pub fn reset(mut self, reason: Reason) {
        self.upload.send_reset(reason);
    }

    /// Waits for the other side's end of the stream.
    #[track_caller]
    pub fn reset_reason(&mut self) -> Reason {
        wait(std::future::poll_fn(|context| self.upload.poll_reset(context))).expect("a reason")
    }

    /// How many bytes may be sent now, after a moment without news.
    pub fn capacity_for(&mut self, bytes: usize) -> usize {
        self.upload.reserve_capacity(bytes);
        loop {
            let more = std::future::poll_fn(|context| self.upload.poll_capacity(context));
            let moment = std::time::Duration::from_millis(300);
            let news = wait(async { tokio::time::timeout(moment, more).await });
            if !matches!(news, Ok(Some(Ok(capacity))) if capacity < bytes) {
                return self.upload.capacity();
            }
        }
    }
}
