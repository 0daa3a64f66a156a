// What the provider keeps besides its keys, in memory. One store outlives each provider that a rotation replaces.

const epochSeconds = () => Math.floor(Date.now() / 1000);
const BY_GRANT = new Set(['AccessToken', 'AuthorizationCode', 'RefreshToken']);

export class Store {
  #kinds = new Map();

  // The provider asks for one adapter for each kind of thing that it keeps.
  adapter = (kind) => {
    if (!this.#kinds.has(kind)) this.#kinds.set(kind, new Adapter(this, BY_GRANT.has(kind)));
    return this.#kinds.get(kind);
  };

  revokeGrant(grantId) {
    for (const adapter of this.#kinds.values()) adapter.dropGrant(grantId);
  }
}

class Adapter {
  #items = new Map();
  #store;
  #byGrant;

  constructor(store, byGrant) {
    this.#store = store;
    this.#byGrant = byGrant;
  }

  async upsert(id, payload, expiresIn) {
    this.#items.set(id, { payload, until: expiresIn === undefined ? Infinity : epochSeconds() + expiresIn });
  }

  async find(id) {
    const item = this.#items.get(id);
    if (item && item.until > epochSeconds()) return item.payload;
    this.#items.delete(id);
    return undefined;
  }

  async findByUid(uid) {
    for (const [id, { payload }] of this.#items) if (payload.uid === uid) return this.find(id);
    return undefined;
  }

  async consume(id) {
    const payload = await this.find(id);
    if (payload) payload.consumed = epochSeconds();
  }

  async destroy(id) {
    this.#items.delete(id);
  }

  async revokeByGrantId(grantId) {
    this.#store.revokeGrant(grantId);
  }

  dropGrant(grantId) {
    if (!this.#byGrant) return;
    for (const [id, { payload }] of this.#items) if (payload.grantId === grantId) this.#items.delete(id);
  }
}
