// The provider: its clients, its scopes, and what goes into its tokens.

import { randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';
import { TOKEN_EXCHANGE, allowTokenExchange, claimsOfExchanged } from './token_exchange.mjs';

const API_SCOPES = ['labels:read', 'labels:write', 'appointments:read', 'appointments:write'];
const SCOPES = ['openid', 'profile', 'email', 'offline_access', ...API_SCOPES];
const DAY = 86_400;

const nonceSecret = randomBytes(32);

// What a client is unless it says otherwise (RFC 7591 has the names).
export const CLIENT = {
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  scope: API_SCOPES.join(' '),
  token_endpoint_auth_method: 'client_secret_basic',
};

const CLIENTS = [
  { client_id: 'acme', client_secret: 'acme-secret-for-tests' },
  { client_id: 'globex', client_secret: 'globex-secret-for-tests' },
  {
    client_id: 'parcel',
    client_secret: 'parcel-secret-for-tests',
    grant_types: ['client_credentials', TOKEN_EXCHANGE],
    resource: 'urn:halfbyte:parcel',
  },
  {
    client_id: 'console',
    client_secret: 'console-secret-for-tests',
    grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: ['https://console.example.com/callback'],
    response_types: ['code'],
    scope: SCOPES.join(' '),
  },
];

// The provider takes its keys once, so a rotation is a new provider; everything else it finds in `settings`, which
// the controls change.
export function makeProvider(issuer, settings) {
  const { keys, people, store } = settings;
  const resourceServer = (resource) => ({
    accessTokenFormat: resource.startsWith('urn:opaque:') ? 'opaque' : 'jwt',
    accessTokenTTL: settings.lifetime,
    audience: resource,
    jwt: { sign: { alg: settings.alg } },
    scope: API_SCOPES.join(' '),
  });
  const provider = new Provider(issuer, {
    adapter: store.adapter,
    claims: { openid: ['sub', 'tenant'], email: ['email', 'email_verified'], profile: ['name'] },
    clients: CLIENTS.map((client) => ({ ...CLIENT, ...client })),
    extraClientMetadata: { properties: ['resource'] },
    extraTokenClaims: (ctx, token) => claimsOfExchanged(token) ?? claimsOf(ctx, token, people),
    features: {
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true, nonceSecret, requireNonce: () => settings.dpopNonce },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      resourceIndicators: {
        defaultResource: (_ctx, _client, oneOf) => oneOf ?? settings.defaultResource,
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => resourceServer(resource),
      },
      revocation: { enabled: true },
      userinfo: { enabled: true },
    },
    // The provider refuses to call addresses of this machine, where the tests listen for logout tokens.
    fetch: (url, { dispatcher, ...options }) =>
      fetch(url, new URL(url).hostname === '127.0.0.1' ? options : { ...options, dispatcher }),
    findAccount: people.account,
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    jwks: { keys: keys.all },
    loadExistingGrant: consent,
    rotateRefreshToken: true,
    scopes: SCOPES,
    ttl: {
      AccessToken: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? settings.lifetime,
      ClientCredentials: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? settings.lifetime,
      Grant: DAY,
      IdToken: 600,
      Interaction: 600,
      RefreshToken: DAY,
      Session: DAY,
    },
  });
  allowTokenExchange(provider, keys, resourceServer);
  return provider;
}

// Tokens say who pays; those of a person also say how he signed in (RFC 9068, 2.2.1), as his session has it.
async function claimsOf(ctx, token, people) {
  if (!token.accountId) return { tenant: token.clientId };
  const session = await ctx.oidc.provider.Session.findByUid(token.sessionUid);
  return {
    acr: session?.acr,
    amr: session?.amr,
    auth_time: session?.loginTs,
    sid: token.sid,
    tenant: people.tenantOf(token.accountId),
  };
}

// Whoever signs in agrees to everything that the client asks for.
async function consent(ctx) {
  const { client, params, provider, session } = ctx.oidc;
  const grant = new provider.Grant({ accountId: session.accountId, clientId: client.clientId });
  if (params.scope) {
    grant.addOIDCScope(params.scope);
    for (const resource of Object.keys(ctx.oidc.resourceServers)) grant.addResourceScope(resource, params.scope);
  }
  await grant.save();
  return grant;
}
