// The way of the document: a new token at each access. The action asks for it
// by itself and emits the whole answer, because the provider may have put a new
// refresh token into it.
const co = require('co');
const rp = require('request-promise');

exports.process = function (msg, cfg, snapshot) {
  return co(function* () {
    this.logger.info('asking for a new token');
    const answer = yield rp({
      method: 'POST',
      uri: `http://${cfg.host}/token`,
      json: true,
      form: {
        grant_type: 'refresh_token',
        refresh_token: cfg.oauth.refresh_token,
        client_id: process.env.EXAMPLE_APP_ID,
        client_secret: process.env.EXAMPLE_APP_SECRET,
      },
    });

    // Durable when the promise resolves, and in cfg.oauth from here on.
    yield this.emit('updateKeys', { oauth: answer });

    const me = yield rp({ uri: `http://${cfg.host}/api/me`, json: true, auth: { bearer: cfg.oauth.access_token } });
    const seen = (snapshot.seen || 0) + 1;
    yield this.emit('snapshot', { seen });
    yield this.emit('data', { body: { owner: me.sub, seen } });
  });
};
