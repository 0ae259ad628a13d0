// oidc-provider, a certified OpenID provider, and beside it an API that answers to its tokens only.
//
//   node oidc.mjs FOLDER     listens on a free port; one line of JSON on standard output says where
//
// FOLDER gets the clients' private keys (key-es256.pem, key-rs256.pem) and a first refresh token
// (refresh-token). TTL (seconds, default 5) is the lifetime of access tokens.
//
//   GET /api/..        200 {"client_id", "path"} to a token that lives, 401 otherwise
//   GET /events        what happened at the token endpoint so far
//   GET /consent       {"refresh_token"}: a person consents once more, to a grant of its own
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// The packages lie in target/peers, where this file does not.
const require = createRequire(path.join(process.env.PEERS, 'package.json'));
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')).href);

const folder = process.argv[2];
const ttl = Number(process.env.TTL ?? 5);

function keyOfClient(algorithm) {
  const pair = algorithm === 'ES256'
    ? crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' });
  fs.writeFileSync(path.join(folder, `key-${algorithm.toLowerCase()}.pem`), pem, { mode: 0o600 });
  return { keys: [{ ...pair.publicKey.export({ format: 'jwk' }), alg: algorithm, use: 'sig' }] };
}

const machine = (client_id, token_endpoint_auth_method, more) => ({
  client_id, token_endpoint_auth_method, grant_types: ['client_credentials'], redirect_uris: [], response_types: [], ...more,
});
const signing = (client_id, algorithm) => machine(client_id, 'private_key_jwt', {
  token_endpoint_auth_signing_alg: algorithm, jwks: keyOfClient(algorithm),
});
const clients = [
  // Characters that the Basic scheme must encode (RFC 6749, section 2.3.1).
  machine('client:basic', 'client_secret_basic', { client_secret: 'basic secret+%:/=' }),
  machine('client-post', 'client_secret_post', { client_secret: 'post secret&=+' }),
  signing('client-es256', 'ES256'),
  signing('client-rs256', 'RS256'),
  { client_id: 'app', client_secret: 'app-secret', grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: ['https://app.example/callback'], response_types: ['code'] },
];

const server = http.createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients,
  cookies: { keys: ['not used here'] },
  jwks: { keys: [{ ...crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256' }] },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  enabledJWA: { clientAuthSigningAlgValues: ['ES256', 'RS256'] },
  features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
  scopes: ['openid', 'offline_access', 'api:read'],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  ttl: { AccessToken: ttl, ClientCredentials: ttl, RefreshToken: 3600, Grant: 3600, IdToken: 60 },
});

const events = { granted: 0, refused: [], grants_revoked: 0 };
provider.on('grant.success', () => { events.granted += 1; });
provider.on('grant.error', (_, error) => { events.refused.push(`${error.error}: ${error.error_detail ?? ''}`); });
provider.on('grant.revoked', () => { events.grants_revoked += 1; });

// A person's consent, given without a browser: what the authorization code grant would have ended with.
const client = await provider.Client.find('app');
async function consent() {
  const grant = new provider.Grant({ accountId: 'alice', clientId: 'app' });
  grant.addOIDCScope('openid offline_access api:read');
  const grantId = await grant.save();
  const now = Math.floor(Date.now() / 1000);
  const seed = new provider.RefreshToken({
    accountId: 'alice', client, grantId, gty: 'authorization_code', scope: 'openid offline_access api:read',
    authTime: now, claims: {}, iiat: now, rotations: 0,
  });
  return seed.save();
}
fs.writeFileSync(path.join(folder, 'refresh-token'), await consent(), { mode: 0o600 });

const say = (response, status, body) => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
};
const callback = provider.callback();
server.on('request', async (request, response) => {
  if (request.url === '/events') return say(response, 200, events);
  if (request.url === '/consent') return say(response, 200, { refresh_token: await consent() });
  if (!request.url.startsWith('/api/')) return callback(request, response);
  const token = request.headers.authorization?.match(/^Bearer (\S+)$/)?.[1] ?? '';
  const found = await provider.AccessToken.find(token) ?? await provider.ClientCredentials.find(token);
  if (!found?.isValid) return say(response, 401, { error: 'invalid_token' });
  return say(response, 200, { client_id: found.clientId, path: request.url });
});
console.log(JSON.stringify({ issuer }));
