// Token exchange (RFC 8693), which the provider lets its owner add: a client changes a token that was sent to it into
// one for another service, in the name of the same subject and with itself as the actor.

import { createLocalJWKSet, jwtVerify } from 'jose';
import { errors } from 'oidc-provider';

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const PARAMETERS = [
  'actor_token', 'actor_token_type', 'requested_token_type', 'resource', 'scope', 'subject_token', 'subject_token_type',
];

// What goes into a token that was exchanged, besides what goes into all.
const added = new WeakMap();
export const claimsOfExchanged = (token) => added.get(token);

export function allowTokenExchange(provider, keys, resourceServer) {
  provider.registerGrantType(TOKEN_EXCHANGE, (ctx) => exchange(ctx, keys, resourceServer), PARAMETERS);
}

async function exchange(ctx, keys, resourceServer) {
  const { client, params, provider } = ctx.oidc;
  if (params.requested_token_type && params.requested_token_type !== ACCESS_TOKEN) {
    throw new errors.InvalidRequest('only access tokens are issued');
  }
  if (!params.resource || !URL.canParse(params.resource)) {
    throw new errors.InvalidTarget('resource must name the service that the token is for');
  }
  const subject = await read(provider, keys, 'subject_token', params);
  // Otherwise whoever comes upon a token could widen where it is good.
  if (!client.resource || ![subject.aud].flat().includes(client.resource)) {
    throw new errors.InvalidRequest('the subject_token is not meant for this client');
  }
  const actor = params.actor_token ? await read(provider, keys, 'actor_token', params) : { sub: client.clientId };

  const info = resourceServer(params.resource);
  const held = new Set(subject.scope?.split(' '));
  const asked = params.scope ? params.scope.split(' ') : [...held];
  if (asked.some((scope) => !held.has(scope))) {
    throw new errors.InvalidScope('more is asked for than the subject_token allows', params.scope);
  }
  const token = new provider.AccessToken({
    accountId: subject.sub,
    client,
    expiresIn: Math.min(info.accessTokenTTL, subject.exp - Math.floor(Date.now() / 1000)),
    gty: 'token_exchange',
    scope: asked.filter((scope) => info.scope.split(' ').includes(scope)).join(' ') || undefined,
  });
  token.resourceServer = new provider.ResourceServer(params.resource, info);
  added.set(token, { tenant: subject.tenant, act: { sub: actor.sub, act: subject.act } });
  ctx.oidc.entity('AccessToken', token);
  ctx.body = {
    access_token: await token.save(),
    expires_in: token.expiration,
    issued_token_type: ACCESS_TOKEN,
    scope: token.scope,
    token_type: token.tokenType,
  };
}

// The claims of a token that this provider issued and that is good now.
async function read(provider, keys, name, params) {
  const [value, type] = [params[name], params[`${name}_type`]];
  if (!value || ![ACCESS_TOKEN, JWT].includes(type)) {
    throw new errors.InvalidRequest(`${name} must be an access token, and ${name}_type say so`);
  }
  const claims = value.includes('.') ? await readJwt(provider, keys, value) : await readOpaque(provider, value);
  if (!claims) throw new errors.InvalidRequest(`the ${name} is not valid`);
  return claims;
}

async function readJwt(provider, keys, value) {
  const options = { issuer: provider.issuer, typ: 'at+jwt', requiredClaims: ['exp', 'sub', 'aud'] };
  const verified = jwtVerify(value, createLocalJWKSet({ keys: keys.published() }), options);
  return verified.then(({ payload }) => payload, () => undefined);
}

async function readOpaque(provider, value) {
  const token = (await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value));
  if (!token?.isValid) return undefined;
  const { accountId, aud, clientId, exp, extra, scope } = token;
  return { ...extra, aud, exp, scope, sub: accountId ?? clientId };
}
