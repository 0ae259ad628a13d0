use super::{Decoder, Malformed, put_field, put_status, put_table_size};
use crate::buffer::Output;

/// The bytes of a text in hexadecimal digits.
fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().filter(|byte| *byte != b' ').collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a digit");
    digits.chunks(2).map(|pair| (digit(pair[0]) << 4 | digit(pair[1])).to_le_bytes()[0]).collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<String, Malformed> {
    let mut seen = String::new();
    decoder.decode(block, |name, value| {
        for part in [name, b"=", value, b"\n"] {
            seen.push_str(&String::from_utf8_lossy(part));
        }
    })?;
    Ok(seen)
}

#[test]
fn the_examples_of_the_specification_are_understood() {
    // RFC 7541, appendices C.3, C.4 and C.6: requests, the same coded, and answers whose table overflows.
    let requests = [
        ":method=GET\n:scheme=http\n:path=/\n:authority=www.example.com\n",
        ":method=GET\n:scheme=http\n:path=/\n:authority=www.example.com\ncache-control=no-cache\n",
        ":method=GET\n:scheme=https\n:path=/index.html\n:authority=www.example.com\ncustom-key=custom-value\n",
    ];
    for blocks in [
        [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ],
        [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ],
    ] {
        let mut decoder = Decoder::default();
        for (block, request) in blocks.iter().zip(requests) {
            assert_eq!(decode(&mut decoder, &bytes(block)), Ok(request.to_owned()));
        }
    }
    let mut decoder = Decoder::default();
    let first = "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b \
                 ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
    let expected = ":status=302\ncache-control=private\ndate=Mon, 21 Oct 2013 20:13:21 GMT\nlocation=https://www.example.com\n";
    assert_eq!(decode(&mut decoder, &bytes(first)), Ok(expected.to_owned()));
    let second = decode(&mut decoder, &bytes("4883 640e ffc1 c0bf"));
    assert_eq!(second, Ok(expected.replace("302", "307")));
    let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d \
                 d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 \
                 3d50 07";
    let third = decode(&mut decoder, &bytes(third)).expect("a block");
    assert!(third.starts_with(":status=200\ncache-control=private\ndate=Mon, 21 Oct 2013 20:13:22 GMT\n"));
    assert!(third.ends_with("set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n"));
}

#[test]
fn every_byte_has_its_code() {
    // Written by another: https://www.rfc-editor.org/rfc/rfc7541#appendix-B for the rarest of all.
    let mut decoder = Decoder::default();
    for (coded, byte) in [
        ("82 ffc7", 0_u8),
        ("84 ffff fff3", 10),
        ("84 ffff fffb", 22),
        ("83 fffe 6f", 128),
        ("84 ffff fbbf", 255),
        ("82 ffcf", b'$'),
        ("83 fffe 1f", b'\\'),
    ] {
        let block = [&[0, 1, b'x'][..], &bytes(coded)].concat();
        let mut seen = Vec::new();
        decoder.decode(&block, |_, value| seen = value.to_vec()).unwrap_or_else(|_| panic!("{byte}"));
        assert_eq!(seen, [byte], "{coded}");
    }
}

#[test]
fn what_is_no_hpack_is_told() {
    for block in [
        // An index of nothing, and one that does not exist.
        "80",
        "be",
        "7f80 8080 8001 00",
        // Ends too early.
        "ff",
        "40",
        "4001",
        "4001 78 05 61",
        // Padding of a whole byte, of zeroes, and the end within a string.
        "0001 78 81 ff",
        "0001 78 82 07ff",
        "0001 78 81 00",
        "0001 78 84 ffff ffff",
        // A size that was not offered, and one behind a field.
        "3fe2 1f",
        "82 20",
    ] {
        assert_eq!(decode(&mut Decoder::default(), &bytes(block)), Err(Malformed), "{block}");
    }
}

#[test]
fn a_table_keeps_no_more_than_its_size() {
    let mut decoder = Decoder::default();
    // Room for one entry of two bytes.
    assert!(decode(&mut decoder, &bytes("3f03 4001 6101 62 4001 6301 64")).is_ok());
    assert_eq!(decode(&mut decoder, &bytes("be")), Ok("c=d\n".into()));
    assert_eq!(decode(&mut decoder, &bytes("bf")), Err(Malformed));
    // One that is too large empties it; so does a table of nothing.
    assert!(decode(&mut decoder, &bytes("4001 6102 6263")).is_ok());
    assert_eq!(decode(&mut decoder, &bytes("be")), Err(Malformed));
    assert!(decode(&mut decoder, &bytes("4001 6101 62 20 ")).is_err());
    assert!(decode(&mut decoder, &bytes("20 3f03")).is_ok());
    assert_eq!(decode(&mut decoder, &bytes("be")), Err(Malformed));
}

#[test]
fn what_is_written_is_read_again() {
    let mut output = Output::default();
    let long = "v".repeat(20_000);
    put_table_size(&mut output);
    put_status(&mut output, http::StatusCode::OK);
    put_status(&mut output, http::StatusCode::IM_A_TEAPOT);
    for (name, value) in
        [("Content-Type", "a/b"), ("X-Own", ""), ("DATE", long.as_str()), ("etag", &"e".repeat(127))]
    {
        put_field(&mut output, name.as_bytes(), value.as_bytes());
    }
    put_field(&mut output, "N".repeat(300).as_bytes(), b"x");
    let expected = format!(
        ":status=200\n:status=418\ncontent-type=a/b\nx-own=\ndate={long}\netag={}\n{}=x\n",
        "e".repeat(127),
        "n".repeat(300)
    );
    assert_eq!(decode(&mut Decoder::default(), output.bytes()), Ok(expected));
}
