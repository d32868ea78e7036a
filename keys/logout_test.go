package keys_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// ended is the endpoint of a fixture's issuer, and what it has withdrawn.
type ended struct {
	*fixture
	endpoint http.Handler
	records  []keys.Revocation
	err      error // of the store
}

func newEnded(t testing.TB, change ...func(*configv1.Jwt)) *ended {
	t.Helper()
	e := &ended{fixture: newFixture(t)}
	cfg := config("corp", e.issuer.JWKS())
	cfg.GetJwt().Logout = &configv1.Logout{Audiences: []string{"kasbah", "other"}}
	for _, change := range change {
		change(cfg.GetJwt())
	}
	e.endpoint = e.store.Logout([]*keys.Provider{compile(t, e.store, cfg)}, func(_ context.Context, record keys.Revocation, _ time.Time) error {
		if e.err == nil {
			e.records = append(e.records, record)
		}
		return e.err
	})
	return e
}

// logoutClaims are those of a good logout token, with these changes; nil leaves one out.
func logoutClaims(changes map[string]any) keystest.Claims {
	extra := map[string]any{"sid": "s1", "events": map[string]any{logoutEvent: map[string]any{}}}
	maps.Copy(extra, changes)
	return keystest.Claims{Audience: []string{"kasbah"}, Lifetime: 2 * time.Minute, Extra: extra}
}

var typed = map[string]any{"typ": "logout+jwt"}

func (e *ended) token(changes map[string]any) string {
	return e.issuer.TokenWithHeader(logoutClaims(changes), typed)
}

// post sends a body, and returns the status. Nothing of the body may be in the answer.
func (e *ended) post(t testing.TB, kind, body string) int {
	t.Helper()
	req := httptest.NewRequest(http.MethodPost, "/backchannel-logout", strings.NewReader(body))
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	answer := httptest.NewRecorder()
	e.endpoint.ServeHTTP(answer, req)
	if answer.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d may be cached", answer.Code)
	}
	if text := answer.Body.String(); answer.Code == 200 && text != "" || answer.Code != 200 && !strings.HasPrefix(text, `{"error":"`) {
		t.Errorf("%d says %q", answer.Code, text)
	}
	return answer.Code
}

func (e *ended) logout(t testing.TB, token string) int {
	t.Helper()
	return e.post(t, "application/x-www-form-urlencoded", url.Values{"logout_token": {token}, "state": {"x"}}.Encode())
}

// TestLogout: a good logout token withdraws the session that it names, else what its subject was issued until then; and the
// tokens of both are refused.
func TestLogout(t *testing.T) {
	sid := func(value string) keys.RevocationName {
		return keys.RevocationName{Claim: "sid", Issuer: issuerName, Value: value}
	}
	sub := keys.RevocationName{Claim: "sub", Issuer: issuerName, Value: "alice"}
	until := instant.Add(24*time.Hour + 91*time.Second)
	session := keys.Revocation{Name: sid("s1"), Windows: []keys.RevocationWindow{{Until: until.UTC()}}}
	subject := keys.Revocation{Name: sub, Windows: []keys.RevocationWindow{{Before: instant.Add(-time.Second), Until: until.UTC()}}}
	earlier := map[string]any{"iat": instant.Unix() - 1}
	for name, c := range map[string]struct {
		changes map[string]any
		whole   bool
		want    []keys.Revocation
	}{
		"a session":                        {nil, false, []keys.Revocation{session}},
		"a session alone":                  {map[string]any{"sub": nil}, true, []keys.Revocation{session}},
		"a subject":                        {map[string]any{"sid": nil, "iat": earlier["iat"]}, false, []keys.Revocation{subject}},
		"a session, and its whole subject": {earlier, true, []keys.Revocation{session, subject}},
		"several audiences":                {map[string]any{"aud": []string{"web", "other"}}, false, []keys.Revocation{session}},
		"more events":                      {map[string]any{"events": map[string]any{logoutEvent: map[string]any{"a": 1}, "b": 2}}, false, []keys.Revocation{session}},
	} {
		e := newEnded(t, func(j *configv1.Jwt) { j.Logout.WholeSubject = c.whole })
		if got := e.logout(t, e.token(c.changes)); got != http.StatusOK {
			t.Errorf("%s: %d", name, got)
		}
		if diff := cmp.Diff(c.want, e.records); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestLogoutOutlivesAllTokens: what is withdrawn stays so for as long as any provider of the issuer lets a token be, also one that hears no
// logouts.
func TestLogoutOutlivesAllTokens(t *testing.T) {
	f := newFixture(t)
	heard, deaf := config("web", f.issuer.JWKS()), config("batch", f.issuer.JWKS())
	heard.GetJwt().Logout = &configv1.Logout{Audiences: []string{"kasbah"}}
	heard.GetJwt().MaxLifetime, deaf.GetJwt().MaxLifetime = durationpb.New(time.Hour), durationpb.New(48*time.Hour)
	var until time.Time
	endpoint := f.store.Logout([]*keys.Provider{compile(t, f.store, heard), compile(t, f.store, deaf)}, func(_ context.Context, record keys.Revocation, _ time.Time) error {
		until = record.Windows[0].Until
		return nil
	})
	e := &ended{fixture: f, endpoint: endpoint}
	if got := e.logout(t, e.token(nil)); got != http.StatusOK || until.Before(instant.Add(48*time.Hour)) {
		t.Errorf("%d, until %v", got, until)
	}
}

// TestBadLogout: a token that is no logout token, or not one for us, or not of now, or there before, withdraws nothing.
func TestBadLogout(t *testing.T) {
	e := newEnded(t)
	other := newIssuer(t, issuerName, e.Now)
	foreign := newIssuer(t, "https://elsewhere.test", e.Now)
	header := func(changes map[string]any) string {
		all := maps.Clone(typed)
		maps.Copy(all, changes)
		return e.issuer.TokenWithHeader(logoutClaims(nil), all)
	}
	good := e.token(nil)
	event := func(value any) map[string]any { return map[string]any{"events": value} }
	bad := map[string]string{
		"no token": "", "no JWT": "x", "another key": other.TokenWithHeader(logoutClaims(nil), typed), "another issuer": foreign.TokenWithHeader(logoutClaims(nil), typed),
		"no type": header(map[string]any{"typ": nil}), "the type of an access token": header(map[string]any{"typ": "at+jwt"}), "JWT": header(map[string]any{"typ": "JWT"}),
		"alg none": header(map[string]any{"alg": "none"}), "an extension": header(map[string]any{"crit": []string{"x"}}), "an unknown key": header(map[string]any{"kid": "x"}),
		"a changed signature": good[:len(good)-8] + "AAAAAAAA", "no signature": good[:strings.LastIndexByte(good, '.')+1], "too long": e.token(map[string]any{"x": strings.Repeat("x", 9000)}),
		"an access token": e.issuer.TokenWithHeader(keystest.Claims{}, typed), "a nonce": e.token(map[string]any{"nonce": "n"}), "a nonce that is null": e.issuer.TokenWithHeader(logoutClaims(map[string]any{"nonce": []any{}}), typed),
		"no events": e.token(event(nil)), "other events": e.token(event(map[string]any{"x": map[string]any{}})), "an event that is no object": e.token(event(map[string]any{logoutEvent: true})),
		"events in a list": e.token(event([]any{logoutEvent})), "an event that is text": e.token(event(logoutEvent)),
		"another audience": e.token(map[string]any{"aud": "api"}), "no audience": e.token(map[string]any{"aud": nil}), "an audience that is a number": e.token(map[string]any{"aud": []any{"kasbah", 1}}),
		"no jti": e.token(map[string]any{"jti": nil}), "an empty jti": e.token(map[string]any{"jti": ""}), "a jti that is a number": e.token(map[string]any{"jti": 1}), "a long jti": e.token(map[string]any{"jti": strings.Repeat("j", 1001)}),
		"nobody": e.token(map[string]any{"sub": nil, "sid": nil}), "an empty sid": e.token(map[string]any{"sid": ""}), "a sid in a list": e.token(map[string]any{"sid": []any{"s1"}}), "a sub that is a number": e.token(map[string]any{"sub": 7}),
		"no iat": e.token(map[string]any{"iat": nil}), "no exp": e.token(map[string]any{"exp": nil}), "expired": e.token(map[string]any{"exp": instant.Unix() - 31, "iat": instant.Unix() - 100}),
		"of the future": e.token(map[string]any{"iat": instant.Unix() + 31}), "an old one": e.token(map[string]any{"iat": instant.Unix() - 3700}), "a long one": e.token(map[string]any{"exp": instant.Unix() + 3700}),
		"an end before its beginning": e.token(map[string]any{"iat": instant.Unix() + 20, "exp": instant.Unix() + 10}), "an exp in text": e.token(map[string]any{"exp": "1800000100"}), "an endless one": e.token(map[string]any{"exp": 1e300}),
	}
	for name, token := range bad {
		if got := e.logout(t, token); got != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got)
		}
	}
	form := url.Values{"logout_token": {good}}.Encode()
	for name, c := range map[string]struct{ kind, body string }{
		"no kind": {"", form}, "another kind": {"application/json", form}, "a broken kind": {"application/x-www-form-urlencoded; x", form}, "several parts": {"multipart/form-data; boundary=x", form},
		"twice": {"application/x-www-form-urlencoded", form + "&" + form}, "another field": {"application/x-www-form-urlencoded", "token=" + good}, "a broken escape": {"application/x-www-form-urlencoded", form + "&x=%zz"},
		"a semicolon": {"application/x-www-form-urlencoded", form + ";x=1"}, "too long": {"application/x-www-form-urlencoded", form + "&x=" + strings.Repeat("x", 20000)}, "spaces": {"application/x-www-form-urlencoded", "logout_token=+" + good}, "nothing": {"application/x-www-form-urlencoded", ""},
	} {
		if got := e.post(t, c.kind, c.body); got != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got)
		}
	}
	if len(e.records) > 0 {
		t.Errorf("%v are withdrawn", e.records)
	}
	if got := e.post(t, "application/x-www-form-urlencoded; charset=utf-8", form); got != http.StatusOK {
		t.Fatalf("a good one is answered with %d", got)
	}
	if got := e.logout(t, good); got != http.StatusBadRequest || len(e.records) != 1 {
		t.Errorf("the same once more: %d, %v", got, e.records)
	}
}

// TestLogoutTypes: a provider may take tokens without a type of their own, and takes no others for it.
func TestLogoutTypes(t *testing.T) {
	e := newEnded(t, func(j *configv1.Jwt) { j.Logout.Untyped = true })
	for typ, want := range map[any]int{nil: 200, "JWT": 200, "logout+jwt": 200, "application/LOGOUT+jwt": 200, "at+jwt": 400, "dpop+jwt": 400, "secevent+jwt": 400} {
		if got := e.logout(t, e.issuer.TokenWithHeader(logoutClaims(nil), map[string]any{"typ": typ})); got != want {
			t.Errorf("%v: %d", typ, got)
		}
	}
	if f := newFixture(t); f.store.Logout([]*keys.Provider{compile(t, f.store, config("corp", f.issuer.JWKS()))}, nil) != nil {
		t.Error("an issuer is heard that nobody configured")
	}
}

// TestLogoutLogin: who logs in again after a logout is let in, and what was issued before it is not.
func TestLogoutLogin(t *testing.T) {
	e := newEnded(t)
	before := e.issuer.Token(keystest.Claims{})
	if e.logout(t, e.token(map[string]any{"sid": nil})) != http.StatusOK {
		t.Fatal("no logout")
	}
	file := &configv1.RevocationFile{}
	for _, r := range e.records {
		file.Revoked = append(file.Revoked, &configv1.RevokedCredentials{
			Issuer: r.Issuer, Sub: r.Value, Before: r.Windows[0].Before.UTC().Format(time.RFC3339), Until: r.Windows[0].Until.Format(time.RFC3339),
		})
	}
	revocations, err := e.store.Revocations(file)
	if err != nil {
		t.Fatal(err)
	}
	auth := keys.NewAuthenticator([]*keys.Provider{compile(t, e.store, config("corp", e.issuer.JWKS()))}, keys.Demand{Revoked: revocations})
	e.now = e.now.Add(time.Second)
	after := e.issuer.Token(keystest.Claims{})
	if got := reason(t, auth, before); got != policy.Revoked {
		t.Errorf("what was issued before: %v", got)
	}
	if got := reason(t, auth, after); got != policy.NoReason {
		t.Errorf("who logs in again: %v", got)
	}
}

// TestLogoutStore: while nothing can be written no logout succeeds, and the issuer may send it again.
func TestLogoutStore(t *testing.T) {
	e := newEnded(t)
	token := e.token(nil)
	e.err = errors.New("out of reach")
	if got := e.logout(t, token); got != http.StatusBadRequest {
		t.Errorf("without a store: %d", got)
	}
	e.err = nil
	if got := e.logout(t, token); got != http.StatusOK {
		t.Errorf("with a store again: %d", got)
	}
}

// TestLogoutRate: past its bound no signature is verified, good or bad, until time has passed; what costs nothing does not count.
func TestLogoutRate(t *testing.T) {
	e := newEnded(t)
	good := e.token(nil)
	bad := good[:len(good)-8] + "AAAAAAAA"
	refused := 0
	for range 1000 {
		for _, junk := range []string{"x.y.z", e.issuer.Forge(keystest.AlgNone, keystest.Claims{})} {
			if got := e.logout(t, junk); got != http.StatusBadRequest {
				t.Fatalf("junk: %d", got)
			}
		}
		if e.logout(t, bad) == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 600 {
		t.Errorf("%d of 1000 at once are refused", refused)
	}
	if got := e.logout(t, e.token(nil)); got != http.StatusTooManyRequests {
		t.Errorf("a good one past the bound: %d", got)
	}
	e.now = e.now.Add(time.Second)
	if got := e.logout(t, e.token(nil)); got != http.StatusOK {
		t.Errorf("a second later: %d", got)
	}
}

// FuzzLogout: whatever is sent, nothing is withdrawn but what the issuer signed.
func FuzzLogout(f *testing.F) {
	seed := newEnded(f)
	good := seed.token(nil)
	for _, body := range []string{
		"", "logout_token=" + good, "logout_token=" + good + "&logout_token=" + good, "logout_token=" + good + "&state=1", "a=%", "logout_token=..", "logout_token=" + good[:len(good)/2], "logout_token=" + strings.ReplaceAll(good, ".", "%2E"), "LOGOUT_TOKEN=" + good, "logout_token[]=" + good,
	} {
		f.Add("application/x-www-form-urlencoded", body)
	}
	f.Add("multipart/form-data; boundary=x", "--x\r\n")
	f.Fuzz(func(t *testing.T, kind, body string) {
		seed.records = nil
		seed.now = seed.now.Add(5 * time.Millisecond) // the rate is not what is tried here
		req := httptest.NewRequest(http.MethodPost, "/backchannel-logout", strings.NewReader(body))
		req.Header.Set("Content-Type", kind)
		answer := httptest.NewRecorder()
		seed.endpoint.ServeHTTP(answer, req)
		status := answer.Code
		values, err := url.ParseQuery(body)
		signed := err == nil && len(values["logout_token"]) == 1 && values.Get("logout_token") == good
		if status == http.StatusOK && !signed || len(seed.records) > 0 != (status == http.StatusOK) {
			t.Errorf("%q, %q: %d, %v", kind, body, status, seed.records)
		}
		if strings.Contains(answer.Body.String(), good) {
			t.Error("the answer has the token in it")
		}
	})
}
