package grant

// The flags of an answer. They are worth an event and never a reason to drop a
// token.
const (
	FlagUnknownType      Flag = "unknown_token_type"                  // token_type is neither Bearer, DPoP nor N_A; sent as Bearer
	FlagLifetimeUnclear  Flag = "expires_in_unparseable"              // the lifetime is not a decimal number, or the instant no instant
	FlagLifetimeNone     Flag = "expires_in_not_positive"             // the lifetime is zero or negative: unknown
	FlagLifetimeCapped   Flag = "expires_in_capped"                   // the lifetime is longer than ten years
	FlagJWTEarlier       Flag = "jwt_expires_earlier"                 // the access token itself ends before the answer says
	FlagExpiredOnArrival Flag = "expired_on_arrival"                  // the access token says that it has expired already
	FlagRefreshNotString Flag = "refresh_token_not_a_string"          // a number, kept by its literal text
	FlagRefreshMalformed Flag = "refresh_token_malformed"             // not %x20-7E or no text at all: the stored one is kept
	FlagRefreshOnCC      Flag = "refresh_token_on_client_credentials" // RFC 6749 §4.4.3 says that there should be none
	FlagSalvaged         Flag = "refresh_token_salvaged"              // a new refresh token came without a usable access token
	FlagScopeNarrowed    Flag = "scope_narrowed"                      // a scope that was asked for or held is missing
	FlagScopeOdd         Flag = "scope_not_a_string"                  // a list, joined; anything else is ignored
	FlagSubjectChanged   Flag = "subject_changed"                     // the ID token names another subject than before
	FlagTrailing         Flag = "trailing_data"                       // bytes after a complete object
	FlagMalformed        Flag = "malformed_json"                      // a member's value that is no JSON was passed over
	FlagLongAccess       Flag = "access_token_very_long"              // more than common header limits allow
	FlagMessage          Flag = "message_heuristic"                   // the class comes from the provider's words, not from a code
	FlagErrorObject      Flag = "error_object"                        // "error" is an object
	FlagErrorIn5xx       Flag = "error_code_in_5xx"                   // a permanent code with a status that says otherwise
	FlagReuse            Flag = "reuse_detected"                      // the provider saw a refresh token that was used before
	FlagRetryAfterDate   Flag = "retry_after_http_date"               // Retry-After was a date
)
