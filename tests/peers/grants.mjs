// oidc-provider by TLS, with all that a machine may be asked for: certificates, proofs of possession,
// assertions by a shared secret, exchanges of tokens, revocation. Beside it an API that answers only to
// those whom its tokens are bound to.
//
//   node grants.mjs FOLDER     listens on a free port; one line of JSON on standard output says where
//
// FOLDER holds ca.pem, server.pem and server-key.pem; the client certificate of `client-tls` has the
// subject CN=client-tls. `subject` holds the token that may be exchanged. DPOP_NONCE=1 wants nonces in all
// proofs, the API's included.
//
//   GET|POST /api/..   200 {"client_id", "path"} to whom the token belongs, 401 otherwise
//   GET /events        what happened so far
import crypto from 'node:crypto';
import fs from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(path.join(process.env.PEERS, 'package.json'));
const bring = (name) => import(pathToFileURL(require.resolve(name)).href);
const { Provider, errors } = await bring('oidc-provider');
const jose = await bring('jose');

const folder = process.argv[2];
const file = (name) => fs.readFileSync(path.join(folder, name));
const wantsNonce = process.env.DPOP_NONCE === '1';

const machine = (client_id, token_endpoint_auth_method, more) => ({
  client_id, token_endpoint_auth_method, grant_types: ['client_credentials'], redirect_uris: [], response_types: [], ...more,
});
const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
const shared = 'a shared secret of at least thirty-two bytes, and of sixty-four for HS512';
const clients = [
  machine('client-basic', 'client_secret_basic', { client_secret: 'basic secret' }),
  ...['HS256', 'HS384', 'HS512'].map((algorithm) => machine(`client-${algorithm.toLowerCase()}`, 'client_secret_jwt', {
    client_secret: shared, token_endpoint_auth_signing_alg: algorithm,
  })),
  machine('client-dpop', 'client_secret_basic', { client_secret: 'dpop secret', dpop_bound_access_tokens: true }),
  machine('client-dpop-hs256', 'client_secret_jwt', {
    client_secret: shared, token_endpoint_auth_signing_alg: 'HS256', dpop_bound_access_tokens: true,
  }),
  machine('client-tls', 'tls_client_auth', {
    tls_client_auth_subject_dn: 'CN=client-tls', tls_client_certificate_bound_access_tokens: true,
  }),
  machine('client-exchange', 'none', { grant_types: [exchangeGrant] }),
];

const server = https.createServer({
  key: file('server-key.pem'), cert: file('server.pem'), ca: file('ca.pem'), requestCert: true, rejectUnauthorized: false,
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const { port } = server.address();
const issuer = `https://localhost:${port}`;
const certificateOf = (socket) => {
  const shown = socket.getPeerCertificate?.(true);
  return shown?.raw ? new crypto.X509Certificate(shown.raw) : undefined;
};

const provider = new Provider(issuer, {
  clients,
  cookies: { keys: ['not used here'] },
  jwks: { keys: [{ ...crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256' }] },
  clientAuthMethods: ['client_secret_basic', 'client_secret_jwt', 'tls_client_auth', 'none'],
  enabledJWA: { clientAuthSigningAlgValues: ['HS256', 'HS384', 'HS512'], idTokenSigningAlgValues: ['ES256'] },
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  discovery: { mtls_endpoint_aliases: { token_endpoint: `https://127.0.0.1:${port}/token` } },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    revocation: { enabled: true },
    dPoP: { enabled: true, nonceSecret: wantsNonce ? crypto.randomBytes(32) : undefined, requireNonce: () => wantsNonce },
    mTLS: {
      enabled: true, certificateBoundAccessTokens: true, tlsClientAuth: true,
      getCertificate: (ctx) => certificateOf(ctx.socket),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_subject_dn' && certificateOf(ctx.socket).subject === expected,
    },
  },
  ttl: { ClientCredentials: Number(process.env.TTL ?? 600) },
});

provider.registerGrantType(exchangeGrant, async (ctx) => {
  const { subject_token: token, subject_token_type: type } = ctx.oidc.params;
  if (token !== file('subject').toString() || type !== 'urn:ietf:params:oauth:token-type:jwt') {
    throw new errors.InvalidGrant('this is not the token of the subject');
  }
  const granted = new provider.ClientCredentials({ client: ctx.oidc.client });
  ctx.body = {
    access_token: await granted.save(), token_type: 'Bearer', expires_in: granted.expiration,
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
  };
}, ['subject_token', 'subject_token_type', 'audience']);

const events = { granted: 0, refused: [], hosts: [], replayed: 0, last_token: null };
provider.on('grant.success', (ctx) => { events.granted += 1; events.hosts.push(ctx.host); });
provider.on('grant.error', (_, error) => { events.refused.push(error.error); });

const apiNonce = 'nonce-of-the-api';
const seen = new Set();
// Throws if the proof of a request is not one for this request, this token and its key (RFC 9449, section 4.3).
async function checkProof(request, token, thumbprint) {
  const proof = request.headers.dpop;
  const { payload, protectedHeader } = await jose.jwtVerify(proof, jose.EmbeddedJWK, { typ: 'dpop+jwt' });
  const same = (found, wanted, what) => { if (found !== wanted) throw new Error(`${what} is ${found}, not ${wanted}`); };
  same(await jose.calculateJwkThumbprint(protectedHeader.jwk), thumbprint, 'jkt');
  same(payload.htm, request.method, 'htm');
  same(payload.htu, `${issuer}${request.url.split('?')[0]}`, 'htu');
  same(payload.ath, crypto.createHash('sha256').update(token).digest('base64url'), 'ath');
  if (Math.abs(Date.now() / 1000 - payload.iat) > 60) throw new Error('iat');
  if (seen.has(payload.jti)) { events.replayed += 1; throw new Error('jti'); }
  seen.add(payload.jti);
  return !wantsNonce || payload.nonce === apiNonce;
}

const say = (response, status, body, headers = {}) => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
};
const callback = provider.callback();
async function api(request, response) {
  const [scheme, token] = (request.headers.authorization ?? '').split(' ');
  const found = await provider.ClientCredentials.find(token ?? '');
  if (!found?.isValid) return say(response, 401, { error: 'invalid_token' });
  events.last_token = token;
  if (found.jkt) {
    if (scheme !== 'DPoP') return say(response, 401, { error: 'no proof' });
    if (!await checkProof(request, token, found.jkt)) {
      return say(response, 401, {}, { 'www-authenticate': 'DPoP error="use_dpop_nonce"', 'dpop-nonce': apiNonce });
    }
  } else if (scheme !== 'Bearer') return say(response, 401, { error: 'scheme' });
  const certificate = certificateOf(request.socket);
  const bound = found['x5t#S256'];
  const shown = certificate && crypto.createHash('sha256').update(certificate.raw).digest('base64url');
  if (bound && bound !== shown) return say(response, 401, { error: 'of another certificate' });
  return say(response, 200, { client_id: found.clientId, path: request.url, bound: Boolean(bound ?? found.jkt) });
}
server.on('request', (request, response) => {
  if (request.url === '/events') return say(response, 200, events);
  if (!request.url.startsWith('/api/')) return callback(request, response);
  return api(request, response).catch((error) => say(response, 401, { error: error.message }));
});
console.log(JSON.stringify({ issuer }));
