// Two issuers for the console: one that answers what the script says, and oidc-provider, where a person
// (the script, in its browser) really logs in.
import crypto from 'node:crypto';
import http from 'node:http';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// The packages lie in target/peers, where this file does not.
export const packages = createRequire(path.join(process.env.PEERS, 'package.json'));

async function listen(server) {
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return `http://127.0.0.1:${server.address().port}`;
}

/**
 * POST /NAME grants a token, unless `answers[NAME]` says otherwise; POST /send sends a one-time password to
 * somebody; GET answers {}.
 */
export async function scripted() {
  const answers = {};
  const tokens = [];
  const server = http.createServer((request, response) => {
    const say = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (request.method !== 'POST') return say(200, {});
    const answer = answers[request.url.slice(1)];
    if (answer) return say(...answer);
    if (request.url === '/send') return say(200, { device_code: 'a-device-code', masked: '******42', expires_in: 600 });
    tokens.push(`token-${crypto.randomBytes(16).toString('hex')}`);
    return say(200, { access_token: tokens.at(-1), token_type: 'Bearer', expires_in: 120, refresh_token: 'a-refresh-token' });
  });
  return { origin: await listen(server), answers, tokens };
}

/** oidc-provider with its own pages for logging in and consenting; access tokens live 6 s. */
export async function provider() {
  const { Provider } = await import(pathToFileURL(packages.resolve('oidc-provider')).href);
  const server = http.createServer();
  const issuer = await listen(server);
  const key = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
  const client = {
    client_id: 'console', client_secret: 'console-secret', application_type: 'native',
    // Any port of a loopback redirect is this one (RFC 8252, section 7.3).
    redirect_uris: ['http://127.0.0.1/oauth/callback'], response_types: ['code'],
    grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  };
  const oidc = new Provider(issuer, {
    clients: [client],
    cookies: { keys: ['not used here'] },
    jwks: { keys: [{ ...key, use: 'sig', alg: 'RS256' }] },
    features: { devInteractions: { enabled: true }, deviceFlow: { enabled: true }, revocation: { enabled: true } },
    scopes: ['openid', 'offline_access'],
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    rotateRefreshToken: true,
    issueRefreshToken: async (_, client, code) => client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
    ttl: { AccessToken: 6, RefreshToken: 3600, Grant: 3600, Session: 3600, Interaction: 600, IdToken: 60, DeviceCode: 600 },
  });
  server.on('request', oidc.callback());
  return { issuer };
}
