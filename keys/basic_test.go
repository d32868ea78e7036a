package keys_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// users are a store that runs and an authenticator of the users of a file.
type users struct {
	*clock
	store *keys.Store
	file  string
	cfg   *configv1.Provider
}

func newUsers(t *testing.T, file string) *users {
	t.Helper()
	u := &users{clock: &clock{instant}, file: file}
	u.store = newStore(t, keys.Options{Now: u.Now})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- u.store.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	u.cfg = &configv1.Provider{Name: "users", Kind: &configv1.Provider_Basic{Basic: &configv1.Basic{
		Htpasswd: &configv1.Htpasswd{File: "users.htpasswd"}, Roles: []string{"reader"},
		Users: []*configv1.BasicUser{{Name: "alice", Roles: []string{"writer", "reader"}}},
	}}}
	auth := u.authenticator(t)
	await(t, func() bool { // the store to run
		_, err := auth.Evaluate(t.Context(), withPassword("nobody", "yet"), &policy.Principal{})
		return err == nil
	})
	return u
}

func (u *users) provider() (*keys.Provider, error) {
	return u.store.Provider(u.cfg, keys.Files{
		Read:    func(string) ([]byte, error) { return []byte(u.file), nil },
		Resolve: func(path string) string { return "/etc/" + path },
	})
}

func (u *users) authenticator(t *testing.T) *keys.Authenticator {
	t.Helper()
	p, err := u.provider()
	if err != nil {
		t.Fatal(err)
	}
	return keys.NewAuthenticator([]*keys.Provider{p})
}

func hashOf(t *testing.T, secret string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), 10)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func withPassword(user, secret string) *policy.Request {
	return &policy.Request{Headers: policy.Headers{{Name: "authorization", Value: "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))}}}
}

func TestBasic(t *testing.T) {
	u := newUsers(t, "alice:"+hashOf(t, "open sesame")+"\nbob:"+hashOf(t, "bob's")+"\n")
	auth := u.authenticator(t)
	outcome, err := evaluate(t, auth, withPassword("alice", "open sesame"))
	if err != nil || outcome.Verdict != policy.Passed {
		t.Fatalf("%+v, %v", outcome, err)
	}
	if p := outcome.Principal; p.ID != "alice" || p.Provider != "users" || fmt.Sprint(p.Roles) != "[reader writer]" || !p.Expires.IsZero() || fmt.Sprint(outcome.Remove) != "[authorization]" {
		t.Errorf("%+v, removed %v", p, outcome.Remove)
	}
	if outcome, err := evaluate(t, auth, withPassword("bob", "bob's")); err != nil || fmt.Sprint(outcome.Principal.Roles) != "[reader]" {
		t.Errorf("bob: %+v, %v", outcome, err)
	}
	for name, test := range map[string]struct {
		req  *policy.Request
		want policy.Reason
	}{
		"a wrong password":   {withPassword("alice", "open sesamE"), policy.UnknownKey},
		"another's password": {withPassword("alice", "bob's"), policy.UnknownKey},
		"nobody":             {withPassword("mallory", "open sesame"), policy.UnknownKey},
		"nothing":            {&policy.Request{}, policy.MissingCredential},
		"a token":            {withToken("alice"), policy.MissingCredential},
		"no colon":           {&policy.Request{Headers: policy.Headers{{Name: "authorization", Value: "Basic YWxpY2U="}}}, policy.MalformedCredential},
		"no base64":          {&policy.Request{Headers: policy.Headers{{Name: "authorization", Value: "Basic alice:open"}}}, policy.MalformedCredential},
		"no credential":      {&policy.Request{Headers: policy.Headers{{Name: "authorization", Value: "Basic "}}}, policy.MalformedCredential},
		"two headers":        {&policy.Request{Headers: append(withPassword("alice", "open sesame").Headers, withPassword("bob", "bob's").Headers...)}, policy.MalformedCredential},
		"a control":          {withPassword("alice", "open\x00sesame"), policy.MalformedCredential},
	} {
		outcome, err := evaluate(t, auth, test.req)
		if err != nil || outcome.Verdict != policy.Denied || outcome.Reason != test.want {
			t.Errorf("%s: %+v, %v; want %v", name, outcome, err, test.want)
		}
		if fmt.Sprint(outcome.Challenges) != `[Basic realm="kasbah", charset="UTF-8"]` || strings.Contains(outcome.Detail, "sesame") {
			t.Errorf("%s: challenges %q, detail %q", name, outcome.Challenges, outcome.Detail)
		}
	}
}

// An edge that must not wait is told so, but for what is remembered: good passwords, and for a while wrong ones.
func TestBasicIsRemembered(t *testing.T) {
	u := newUsers(t, "alice:"+hashOf(t, "open sesame"))
	auth := u.authenticator(t)
	ask := func(secret string, noWait bool) (policy.Reason, error) {
		req := withPassword("alice", secret)
		req.NoWait = noWait
		outcome, err := evaluate(t, auth, req)
		if outcome.Verdict == policy.Passed {
			return policy.NoReason, err
		}
		return outcome.Reason, err
	}
	for secret, want := range map[string]policy.Reason{"open sesame": policy.NoReason, "wrong": policy.UnknownKey} {
		if _, err := ask(secret, true); !errors.Is(err, policy.ErrWouldWait) {
			t.Errorf("%s at first: %v", want, err)
		}
		if got, err := ask(secret, false); err != nil || got != want {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
		if got, err := ask(secret, true); err != nil || got != want {
			t.Errorf("remembered: %v, %v; want %v", got, err, want)
		}
	}
	u.now = u.now.Add(5 * time.Second)
	if _, err := ask("wrong", true); !errors.Is(err, policy.ErrWouldWait) {
		t.Errorf("a wrong password later: %v", err)
	}
	if got, err := ask("open sesame", true); err != nil || got != policy.NoReason {
		t.Errorf("a good one later: %v, %v", got, err)
	}

	// A change of the file forgets those whose line has changed, and only them.
	u.file += "\nmallory:" + hashOf(t, "mallory's")
	auth = u.authenticator(t)
	if got, err := ask("open sesame", true); err != nil || got != policy.NoReason {
		t.Errorf("with another user in the file: %v, %v", got, err)
	}
	u.file = "alice:" + hashOf(t, "changed")
	auth = u.authenticator(t)
	if _, err := ask("open sesame", true); !errors.Is(err, policy.ErrWouldWait) {
		t.Errorf("with another password in the file: %v", err)
	}
	if got, err := ask("open sesame", false); err != nil || got != policy.UnknownKey {
		t.Errorf("with another password in the file: %v, %v", got, err)
	}
	u.file, u.cfg.GetBasic().Users = "bob:"+hashOf(t, "bob's"), nil
	auth = u.authenticator(t)
	if got, err := ask("changed", false); err != nil || got != policy.UnknownKey {
		t.Errorf("taken out of the file: %v, %v", got, err)
	}
}

// A flood of passwords is cut off; who is remembered passes meanwhile, and callers with one password share a hash.
func TestBasicFlood(t *testing.T) {
	u := newUsers(t, "alice:"+hashOf(t, "open sesame"))
	auth := u.authenticator(t)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if outcome, err := auth.Evaluate(t.Context(), withPassword("alice", "open sesame"), &policy.Principal{}); err != nil || outcome.Verdict != policy.Passed {
				t.Errorf("%+v, %v", outcome, err)
			}
		})
	}
	group.Wait()
	if stats := u.store.CacheStats(); stats.Misses != 1 {
		t.Errorf("20 callers with one password: %+v", stats)
	}
	var mu sync.Mutex
	unavailable := 0
	for i := range 400 {
		group.Go(func() {
			outcome, err := auth.Evaluate(t.Context(), withPassword("alice", fmt.Sprint(i)), &policy.Principal{})
			var fault *policy.StageError
			switch {
			case errors.As(err, &fault) && fault.Reason == policy.Unavailable:
				mu.Lock()
				unavailable++
				mu.Unlock()
			case err != nil || outcome.Verdict != policy.Denied || outcome.Reason != policy.UnknownKey:
				t.Errorf("%+v, %v", outcome, err)
			}
		})
	}
	req := withPassword("alice", "open sesame")
	req.NoWait = true
	for range 1000 {
		if outcome, err := auth.Evaluate(t.Context(), req, &policy.Principal{}); err != nil || outcome.Verdict != policy.Passed {
			t.Fatalf("who is remembered: %+v, %v", outcome, err)
		}
	}
	group.Wait()
	if unavailable == 0 {
		t.Error("400 wrong passwords were all hashed")
	}
}

func TestBasicConfiguration(t *testing.T) {
	u := newUsers(t, "alice:"+hashOf(t, "open sesame"))
	u.cfg.From = []*configv1.Location{{Place: &configv1.Location_Header{Header: "x-password"}}}
	mustBeField(t, u, "from")
	u.cfg.From = nil
	u.cfg.GetBasic().Users = []*configv1.BasicUser{{Name: "alice"}, {Name: "bob"}}
	mustBeField(t, u, "basic.users[1].name")
	u.cfg.GetBasic().Users[1].Name = "alice"
	mustBeField(t, u, "basic.users[1].name")
	u.cfg.GetBasic().Users = nil
	u.file = "# users\nalice:secret\n"
	_, err := u.provider()
	var finding *policy.Finding
	if !errors.As(err, &finding) || finding.String() != "/etc/users.htpasswd:2:7" {
		t.Errorf("a bad file: %v", err)
	}
	u.cfg.GetBasic().Htpasswd = nil
	mustBeField(t, u, "basic.htpasswd.file")
}

func mustBeField(t *testing.T, u *users, field string) {
	t.Helper()
	_, err := u.provider()
	var fault *policy.FieldError
	if !errors.As(err, &fault) || fault.Field != field {
		t.Errorf("%v, want a fault of %s", err, field)
	}
}

// What a remembered password costs.
func BenchmarkBasicCached(b *testing.B) {
	store := newStore(b, keys.Options{Now: (&clock{instant}).Now})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- store.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}()
	hash, err := bcrypt.GenerateFromPassword([]byte("open sesame"), 10)
	if err != nil {
		b.Fatal(err)
	}
	p, err := store.Provider(&configv1.Provider{Name: "users", Kind: &configv1.Provider_Basic{Basic: &configv1.Basic{Htpasswd: &configv1.Htpasswd{File: "f"}}}},
		keys.Files{Read: func(string) ([]byte, error) { return []byte("alice:" + string(hash)), nil }})
	if err != nil {
		b.Fatal(err)
	}
	auth, req := keys.NewAuthenticator([]*keys.Provider{p}), withPassword("alice", "open sesame")
	b.ReportAllocs()
	for b.Loop() {
		if outcome, err := auth.Evaluate(ctx, req, &policy.Principal{}); err != nil || outcome.Verdict != policy.Passed {
			b.Fatal(outcome, err)
		}
	}
}
