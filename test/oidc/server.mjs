// The certified OpenID provider on a free loopback port, as strict as the grant
// tests need it: every refresh rotates, a refresh token that comes twice revokes
// its family, PKCE is asked of everybody.
//
// Standard input is one line of JSON: {"clients":[…],"access_ttl":60}. Its end
// ends the server, so that none outlives the test that started it, however that
// test ended. Standard output is one line: {"issuer","pid"}.

import { createServer } from 'node:http';
import { randomBytes } from 'node:crypto';
import { createInterface } from 'node:readline';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';
import { adapter } from './adapter.mjs';

const lines = createInterface({ input: process.stdin });
const options = await new Promise((resolve, reject) => {
  lines.once('line', (line) => {
    try { resolve(JSON.parse(line)); } catch (err) { reject(err); }
  });
  lines.once('close', () => process.exit(0));
});

async function signingKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...await exportJWK(privateKey), alg, use: 'sig' };
}

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const page = (ctx, body) => {
  ctx.type = 'html';
  ctx.body = `<!DOCTYPE html><html><body>${body}</body></html>`;
};

const provider = new Provider(issuer, {
  adapter,
  clients: options.clients,
  extraClientMetadata: { properties: ['require_dpop_nonce'] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  jwks: { keys: [await signingKey('RS256'), await signingKey('ES256')] },
  responseTypes: ['code'],
  scopes: ['openid', 'email', 'offline_access', 'read', 'write'],
  claims: { openid: ['sub'], email: ['email'] },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
  pkce: { required: () => true },
  rotateRefreshToken: () => true,
  // Refresh tokens for whoever may use them: most providers ask for no
  // offline_access.
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  ttl: {
    AccessToken: options.access_ttl ?? 60,
    ClientCredentials: options.access_ttl ?? 60,
    AuthorizationCode: 60,
    DeviceCode: 60,
    Grant: 86400,
    IdToken: 3600,
    Interaction: 600,
    RefreshToken: 86400,
    Session: 86400,
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    deviceFlow: {
      enabled: true,
      userCodeInputSource: (ctx, form) => page(ctx, form),
      userCodeConfirmSource: (ctx, form) => page(ctx, form),
      successSource: (ctx) => page(ctx, '<p id="done">The device is connected.</p>'),
    },
    dPoP: {
      enabled: true,
      nonceSecret: randomBytes(32),
      requireNonce: (ctx) => ctx.oidc.client?.require_dpop_nonce === true,
    },
  },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.org` }),
  }),
  // Consent needs no page: whoever signs in has agreed to what is asked.
  async loadExistingGrant(ctx) {
    const { client, session, params } = ctx.oidc;
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope(params.scope ?? 'openid');
    await grant.save();
    return grant;
  },
  renderError: (ctx, out) => page(ctx, `<p id="error">${out.error}</p>`),
});

// Signing in and agreeing need no page either: login_hint says who it is, and
// whoever is called nobody refuses.
async function interaction(req, res) {
  const { params, prompt } = await provider.interactionDetails(req, res);
  const account = params.login_hint ?? 'alice';
  let result = { login: { accountId: account } };
  if (account === 'nobody') {
    result = { error: 'access_denied', error_description: 'The resource owner said no.' };
  } else if (prompt.name === 'consent') {
    result = { consent: {} };
  }
  await provider.interactionFinished(req, res, result, { mergeWithLastSubmission: true });
}

const handle = provider.callback();
server.on('request', (req, res) => {
  if (!req.url.startsWith('/interaction/')) {
    handle(req, res);
    return;
  }
  interaction(req, res).catch((err) => {
    res.writeHead(500, { 'content-type': 'text/plain' }).end(String(err));
  });
});

process.stdout.write(`${JSON.stringify({ issuer, pid: process.pid })}\n`);
