export default {
  // The one function that others need: a token that works.
  async getAccessToken() {
    if (!appsmith.store.authAccessToken) {
      await this.generateAccessToken();
    } else if (this.verifyAccessTokenExpired()) {
      await this.refreshAccessToken();
    }
    return appsmith.store.authAccessToken;
  },

  // Signs in with the e-mail and password of the query.
  async generateAccessToken() {
    const answer = await api_authToken.run();
    if (answer) this.storeToken(answer.access_token, answer.refresh_token);
  },

  // Brings a new access token for the refresh token in the store.
  async refreshAccessToken() {
    await api_refreshAuthToken.run();
    const answer = api_refreshAuthToken.data;
    if (!answer) {
      console.error("Failed to refresh the access token");
      return;
    }
    this.storeToken(answer.access_token, answer.refresh_token);
  },

  storeToken(accessToken, refreshToken) {
    storeValue("authAccessToken", accessToken);
    if (refreshToken) storeValue("authRefreshToken", refreshToken);
    storeValue("authAccessTokenExp", this.getTokenExpiry(accessToken));
  },

  // When a JSON Web Token expires, in milliseconds; null for any other token.
  getTokenExpiry(token) {
    try {
      return JSON.parse(atob(token.split(".")[1])).exp * 1000;
    } catch (error) {
      console.error("The token says nothing of its expiry:", error);
      return null;
    }
  },

  verifyAccessTokenExpired() {
    return Date.now() > new Date(appsmith.store.authAccessTokenExp).getTime();
  },
};
