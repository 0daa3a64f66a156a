// The keys that the provider signs with, in a file where they are to outlive the process.

import { readFileSync, writeFileSync } from 'node:fs';
import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose';

export const ALGORITHMS = ['ES256', 'RS256'];

export class Keys {
  // Newest first: the provider signs with the first that fits, and publishes all.
  all = [];
  #file;

  constructor(file) {
    this.#file = file;
  }

  // The keys of the file where there are any, otherwise new ones.
  static async open(file) {
    const keys = new Keys(file);
    try {
      if (file) keys.all = JSON.parse(readFileSync(file, 'utf8'));
    } catch (error) {
      if (error.code !== 'ENOENT') throw error;
    }
    if (!keys.all.length) await keys.rotate();
    return keys;
  }

  async rotate() {
    this.all = [...(await Promise.all(ALGORITHMS.map(newKey))), ...this.all];
    if (this.#file) writeFileSync(this.#file, JSON.stringify(this.all), { mode: 0o600 });
  }

  signingKey(alg) {
    return this.all.find((key) => key.alg === alg).kid;
  }

  published() {
    return this.all.map(({ kty, crv, x, y, n, e, alg, kid, use }) => ({ kty, crv, x, y, n, e, alg, kid, use }));
  }
}

async function newKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = await exportJWK(privateKey);
  return { ...jwk, alg, kid: await calculateJwkThumbprint(jwk), use: 'sig' };
}
