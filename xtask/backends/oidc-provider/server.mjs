// A real OpenID provider for the tests: `node server.mjs PORT`, on loopback only.
//
// Two clients get RFC 9068 access tokens by client credentials for whatever audience they name with `resource`
// (RFC 8707); without `resource` they get an opaque token. Paths under /test/ let a test do what an operator would:
//   GET  /test/health         answers once the provider serves
//   POST /test/rotate         signs with new keys from now on; those before stay published; answers { alg, kid }
//   POST /test/alg?alg=RS256  signs with that algorithm from now on (ES256 at start); answers { alg, kid }

import { createServer } from 'node:http';
import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

const port = Number(process.argv[2]);
if (!Number.isInteger(port) || port < 1 || port > 65535) {
  console.error('usage: node server.mjs PORT');
  process.exit(2);
}

const issuer = `http://127.0.0.1:${port}`;
const algorithms = ['ES256', 'RS256'];
const scopes = ['labels:read', 'labels:write', 'appointments:read', 'appointments:write'];

let alg = algorithms[0];
let keys = []; // newest first: the provider signs with the first that fits, and publishes all
let serve; // the request handler of the provider that holds these keys

function client(client_id, client_secret) {
  return {
    client_id,
    client_secret,
    scope: scopes.join(' '),
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_basic',
  };
}

function configuration() {
  return {
    clients: [client('acme', 'acme-secret-for-tests'), client('globex', 'globex-secret-for-tests')],
    extraTokenClaims: (_ctx, token) => ({ tenant: token.clientId }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => ({
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          audience: resource,
          jwt: { sign: { alg } },
          scope: scopes.join(' '),
        }),
      },
      revocation: { enabled: true },
    },
    jwks: { keys },
    scopes,
  };
}

async function newKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = await exportJWK(privateKey);
  return { ...jwk, alg, kid: await calculateJwkThumbprint(jwk), use: 'sig' };
}

// The provider takes its keys once, so a rotation is a new provider; clients and audiences are the same in each.
async function rotate() {
  keys = [...(await Promise.all(algorithms.map(newKey))), ...keys];
  serve = new Provider(issuer, configuration()).callback();
}

const signingKey = () => ({ alg, kid: keys.find((key) => key.alg === alg).kid });

async function control(method, url) {
  switch (`${method} ${url.pathname}`) {
    case 'GET /test/health':
      return [200, { status: 'ok' }];
    case 'POST /test/rotate':
      await rotate();
      return [200, signingKey()];
    case 'POST /test/alg': {
      const wanted = url.searchParams.get('alg');
      if (!algorithms.includes(wanted)) return [400, { error: `alg must be one of ${algorithms.join(', ')}` }];
      alg = wanted;
      return [200, signingKey()];
    }
    default:
      return [404, { error: `${method} ${url.pathname} is not known here` }];
  }
}

await rotate();
const server = createServer(async (request, response) => {
  if (!request.url.startsWith('/test/')) return serve(request, response);
  const [status, body] = await control(request.method, new URL(request.url, issuer));
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
});
server.listen(port, '127.0.0.1', () => console.log(`${issuer} is ready`));
