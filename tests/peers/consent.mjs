// oidc-provider before people: authorization codes with PKCE, pushed requests, devices, refresh tokens
// that rotate and of which one used twice ends the grant. Its interaction pages are its own, for
// development: any name and password will do.
//
//   node consent.mjs     listens on a free port; one line of JSON on standard output says where
//
//   GET /api/..          200 {"subject", "path"} to a token that lives, 401 otherwise
//   GET /events          what happened at the token endpoint so far
import http from 'node:http';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(path.join(process.env.PEERS, 'package.json'));
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')).href);

const server = http.createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

const native = { token_endpoint_auth_method: 'none', application_type: 'native' };
const provider = new Provider(issuer, {
  clients: [
    { ...native, client_id: 'browser', grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['http://127.0.0.1/oauth/callback'], response_types: ['code'] },
    { ...native, client_id: 'device', redirect_uris: [], response_types: [],
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'] },
  ],
  cookies: { keys: ['a key of this test'] },
  scopes: ['openid', 'offline_access', 'api:read'],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  issueRefreshToken: () => true,
  pkce: { required: () => true },
  ttl: { AccessToken: 3600, RefreshToken: 3600, DeviceCode: 300, IdToken: 60, Interaction: 600, Session: 600, Grant: 3600 },
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    pushedAuthorizationRequests: { enabled: process.env.NO_PAR !== '1' },
  },
});

const events = { granted: 0, refused: [], grants_revoked: 0 };
provider.on('grant.success', () => { events.granted += 1; });
provider.on('grant.error', (_, error) => { events.refused.push(`${error.error}: ${error.error_detail ?? ''}`); });
provider.on('grant.revoked', () => { events.grants_revoked += 1; });

const say = (response, status, body) => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
};
const callback = provider.callback();
server.on('request', async (request, response) => {
  if (request.url === '/events') return say(response, 200, events);
  if (!request.url.startsWith('/api/')) return callback(request, response);
  const token = request.headers.authorization?.match(/^Bearer (\S+)$/)?.[1] ?? '';
  const found = await provider.AccessToken.find(token);
  if (!found?.isValid) return say(response, 401, { error: 'invalid_token' });
  return say(response, 200, { subject: found.accountId, path: request.url });
});
console.log(JSON.stringify({ issuer }));
