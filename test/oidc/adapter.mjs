// The provider's own memory keeps a thousand entries and forgets the oldest;
// this one keeps everything until it expires.

const entries = new Map(); // "Model:id" to { payload, expires }
const families = new Map(); // grant id to the keys that belong to it
const uids = new Map();
const userCodes = new Map();

function alive(key) {
  const entry = entries.get(key);
  if (entry && entry.expires <= Date.now()) {
    entries.delete(key);
    return undefined;
  }
  return entry;
}

class Keeper {
  constructor(model) {
    this.model = model;
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload, expiresIn) {
    const key = this.key(id);
    entries.set(key, {
      payload,
      expires: typeof expiresIn === 'number' ? Date.now() + expiresIn * 1000 : Infinity,
    });
    if (payload.grantId && this.model !== 'Session' && this.model !== 'Grant') {
      if (!families.has(payload.grantId)) families.set(payload.grantId, new Set());
      families.get(payload.grantId).add(key);
    }
    if (payload.uid) uids.set(payload.uid, id);
    if (payload.userCode) userCodes.set(payload.userCode, id);
  }

  async find(id) {
    return alive(this.key(id))?.payload;
  }

  async findByUid(uid) {
    return this.find(uids.get(uid));
  }

  async findByUserCode(code) {
    return this.find(userCodes.get(code));
  }

  async consume(id) {
    const entry = alive(this.key(id));
    if (entry) entry.payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    entries.delete(this.key(id));
  }

  async revokeByGrantId(grantId) {
    for (const key of families.get(grantId) ?? []) entries.delete(key);
    families.delete(grantId);
  }
}

export const adapter = (model) => new Keeper(model);
