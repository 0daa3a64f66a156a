// A real OpenID provider for the tests, on loopback only:
//
//   node server.mjs PORT [--keys FILE] [--issuer URL] [--default-resource URN] [--until-stdin-closes]
//
// With --issuer it is called that, for one that stands behind something. With --default-resource a token is for that where
// its client does not say what for.
// With --keys its signing keys are kept in FILE, so that one that is started again has the same; without, or where the
// file is gone, they are new. With --until-stdin-closes it ends with the process that holds the other end of its stdin.
//
// Clients get access tokens for the audience that they name with `resource` (RFC 8707): an opaque one where that begins
// with `urn:opaque:`, otherwise an RFC 9068 JWT. Without `resource` the token is opaque and has no audience. There are:
//   acme, globex  client credentials
//   parcel        client credentials, and token exchange (RFC 8693) of tokens for urn:halfbyte:parcel
//   console       authorization code and refresh, for people who sign in; a refresh token is good for one use
// The secret of NAME is NAME-secret-for-tests, sent as client_secret_basic; the tenant of a client is its name. A DPoP
// proof binds a token, with a nonce of the provider's. Opaque tokens can be introspected and revoked, JWTs cannot.
//
// Paths under /test/ let a test do what operators, people and misfortune do. Each answers JSON.
//   GET  /test/health           answers once the provider serves
//   GET  /test/stats            how often each endpoint was asked: { discovery, jwks, token, ... }
//   POST /test/rotate           signs with new keys from now on; those before stay published; answers { alg, kid }
//   POST /test/alg?alg=RS256    signs with that algorithm from now on (ES256 at start); answers { alg, kid }
//   POST /test/lifetime?seconds=5   of access tokens from now on (600 at start)
//   POST /test/dpop-nonce?required=false   whether a proof must have a nonce (true at start)
//   POST /test/client           adds or replaces the client of the body: metadata of RFC 7591 in JSON with a `client_id`,
//                               e.g. `jwks` for private_key_jwt, or `backchannel_logout_uri`; by default as acme is.
//                               `resource` is the audience that the client itself is, for token exchange.
//   POST /test/sign-in?client=console&sub=ann&tenant=acme&scope=openid+labels:read&resource=urn:x&acr=..&amr=pwd+otp
//                               a person signs in by authorization code and PKCE (tenant, resource, acr, amr may be left
//                               out); answers { access_token, refresh_token, id_token, session, .. }
//   POST /test/logout?sub=ann&session=..   that person signs out, of all sessions or of one: the clients that have a
//                               backchannel_logout_uri are told; answers { sessions, delivered: [client], failed: [..] }
//   POST /test/slow?ms=2000     answers everything else that much later, until told otherwise
//   POST /test/gone?ms=2000     breaks every other connection for that long

import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { ALGORITHMS, Keys } from './keys.mjs';
import { People } from './people.mjs';
import { CLIENT, makeProvider } from './provider.mjs';
import { Store } from './store.mjs';

const options = {
  'default-resource': { type: 'string' },
  issuer: { type: 'string' },
  keys: { type: 'string' },
  'until-stdin-closes': { type: 'boolean' },
};
const { positionals, values } = parseArgs({ allowPositionals: true, options });
const port = Number(positionals[0]);
if (!Number.isInteger(port) || port < 1 || port > 65535) {
  console.error('usage: node server.mjs PORT [--keys FILE] [--issuer URL] [--default-resource URN] [--until-stdin-closes]');
  process.exit(2);
}

const ENDPOINTS = {
  '/.well-known/openid-configuration': 'discovery',
  '/jwks': 'jwks',
  '/me': 'userinfo',
  '/token': 'token',
  '/token/introspection': 'introspection',
  '/token/revocation': 'revocation',
};

const issuer = values.issuer ?? `http://127.0.0.1:${port}`;
const settings = {
  alg: ALGORITHMS[0],
  defaultResource: values['default-resource'],
  dpopNonce: true,
  keys: await Keys.open(values.keys),
  lifetime: 600,
  people: new People(),
  store: new Store(),
};
const stats = Object.fromEntries(Object.values(ENDPOINTS).map((endpoint) => [endpoint, 0]));
let slow = 0;
let goneUntil = 0;
let provider; // of the keys as they are
let serve; // its request handler

function renew() {
  provider = makeProvider(issuer, settings);
  serve = provider.callback();
}

const signingKey = () => [200, { alg: settings.alg, kid: settings.keys.signingKey(settings.alg) }];

const controls = {
  'GET /test/health': () => [200, { status: 'ok' }],
  'GET /test/stats': () => [200, stats],
  'POST /test/rotate': async () => {
    await settings.keys.rotate();
    renew();
    return signingKey();
  },
  'POST /test/alg': ({ alg }) => {
    if (!ALGORITHMS.includes(alg)) return [400, { error: `alg must be one of ${ALGORITHMS.join(', ')}` }];
    settings.alg = alg;
    return signingKey();
  },
  'POST /test/lifetime': ({ seconds }) => {
    settings.lifetime = whole(seconds);
    return [200, { seconds: settings.lifetime }];
  },
  'POST /test/dpop-nonce': ({ required }) => {
    settings.dpopNonce = required !== 'false';
    return [200, { required: settings.dpopNonce }];
  },
  'POST /test/client': async (_query, body) => {
    const metadata = { ...CLIENT, ...JSON.parse(body) };
    await provider.Client.validate(metadata);
    await provider.Client.adapter.upsert(metadata.client_id, metadata);
    return [200, { client_id: metadata.client_id }];
  },
  'POST /test/sign-in': (query) => settings.people.signIn(provider, query),
  'POST /test/logout': (query) => settings.people.signOut(provider, query),
  'POST /test/slow': ({ ms }) => {
    slow = whole(ms);
    return [200, { ms: slow }];
  },
  'POST /test/gone': ({ ms }) => {
    goneUntil = Date.now() + whole(ms);
    return [200, { ms: whole(ms) }];
  },
};

function whole(text) {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 0) throw new Error(`${text} is not a whole number`);
  return number;
}

async function control(request, url) {
  const answer = controls[`${request.method} ${url.pathname}`];
  if (!answer) return [404, { error: `${request.method} ${url.pathname} is not known here` }];
  const body = await request.reduce((text, chunk) => text + chunk, '');
  try {
    return await answer(Object.fromEntries(url.searchParams), body);
  } catch (error) {
    return [400, { error: error.error_description ?? error.message }];
  }
}

async function answer(request, response) {
  const url = new URL(request.url, issuer);
  if (url.pathname.startsWith('/test/')) {
    const [status, body] = await control(request, url);
    return response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }
  if (Date.now() < goneUntil) return request.socket.destroy();
  const endpoint = ENDPOINTS[url.pathname];
  if (endpoint) stats[endpoint] += 1;
  if (slow) await sleep(slow);
  return serve(request, response);
}

renew();
if (values['until-stdin-closes']) process.stdin.on('close', () => process.exit()).resume();
createServer(answer).listen(port, '127.0.0.1', () => console.log(`${issuer} is ready`));
