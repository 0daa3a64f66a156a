// People who sign in and out. Only the login screen is left out: a session of the provider's own is made, and from there
// on this walks through the endpoints as a browser with its cookie and the client behind it would.

import { createHash, randomBytes } from 'node:crypto';

export class People {
  #accounts = new Map();
  #sessions = []; // { sub, uid, id }: `id` is what the cookie holds

  // Anybody may have an account; what was said of one at sign-in is remembered.
  account = (_ctx, sub) => {
    const { tenant } = this.#accounts.get(sub) ?? {};
    const claims = { sub, tenant, name: `${sub} of the tests`, email: `${sub}@example.com`, email_verified: true };
    return { accountId: sub, claims: () => claims };
  };

  tenantOf(sub) {
    return this.#accounts.get(sub)?.tenant;
  }

  // Authorization code with PKCE (RFC 7636); answers what the token endpoint answers, and the session.
  async signIn(provider, { client: clientId, sub, tenant, scope, resource, acr, amr }) {
    const client = await provider.Client.find(clientId);
    if (!client?.clientSecret || !client.redirectUris.length) {
      return [400, { error: `${clientId} is no client with a secret and a redirect_uri` }];
    }
    if (!sub) return [400, { error: 'sub is missing: who signs in?' }];
    this.#accounts.set(sub, { tenant });
    const session = new provider.Session();
    session.loginAccount({ accountId: sub, acr, amr: amr?.split(' ') });
    await session.save(86_400);
    this.#sessions.push({ sub, uid: session.uid, id: session.id });

    const verifier = randomBytes(32).toString('base64url');
    const redirectUri = client.redirectUris[0];
    const authorization = new URL(provider.urlFor('authorization'));
    const query = {
      client_id: clientId,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
      nonce: randomBytes(16).toString('base64url'),
      redirect_uri: redirectUri,
      resource,
      response_type: 'code',
      scope,
    };
    authorization.search = form(query);
    const page = await fetch(authorization, { headers: { cookie: this.#cookie(provider, session) }, redirect: 'manual' });
    const location = new URL(page.headers.get('location') ?? authorization);
    const code = location.searchParams.get('code');
    if (!code) return [400, { error: `no code: ${page.status} ${location.search}` }];

    const exchange = { code, code_verifier: verifier, grant_type: 'authorization_code', redirect_uri: redirectUri, resource };
    const basic = Buffer.from(`${encodeURIComponent(clientId)}:${encodeURIComponent(client.clientSecret)}`);
    const headers = { authorization: `Basic ${basic.toString('base64')}` };
    const answer = await fetch(provider.urlFor('token'), { method: 'POST', headers, body: form(exchange) });
    const tokens = await answer.json();
    return [answer.status, answer.ok ? { ...tokens, session: session.uid } : tokens];
  }

  // RP-initiated logout of each session of `sub`, or of one; answers to whom the provider sent logout tokens.
  async signOut(provider, { sub, session }) {
    const leaving = this.#sessions.filter((one) => one.sub === sub && (!session || one.uid === session));
    this.#sessions = this.#sessions.filter((one) => !leaving.includes(one));
    const told = { sessions: leaving.length, delivered: [], failed: [] };
    const delivered = (_ctx, client, of) => of === sub && told.delivered.push(client.clientId);
    const failed = (_ctx, error, client, of) =>
      of === sub && told.failed.push({ client: client.clientId, error: error.message });
    provider.on('backchannel.success', delivered).on('backchannel.error', failed);
    try {
      for (const one of leaving) await this.#leave(provider, one);
    } finally {
      provider.off('backchannel.success', delivered).off('backchannel.error', failed);
    }
    return [200, told];
  }

  async #leave(provider, session) {
    const headers = { cookie: this.#cookie(provider, session) };
    const page = await (await fetch(provider.urlFor('end_session'), { headers, redirect: 'manual' })).text();
    const xsrf = /name="xsrf" value="([^"]+)"/.exec(page)?.[1];
    if (!xsrf) throw new Error('the logout page has no form');
    const body = form({ logout: 'yes', xsrf });
    await fetch(provider.urlFor('end_session_confirm'), { method: 'POST', headers, body, redirect: 'manual' });
  }

  #cookie(provider, session) {
    return `${provider.cookieName('session')}=${session.id}`;
  }
}

const form = (fields) => new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== undefined));
