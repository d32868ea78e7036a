package keys_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// partner is somebody who signs, and an authenticator that knows the key.
type partner struct {
	*clock
	signer *keystest.Signer
	store  *keys.Store
	cfg    *configv1.Provider
	serial uint64
}

func newPartner(t testing.TB, algorithm string) *partner {
	t.Helper()
	p := &partner{clock: &clock{instant}}
	var err error
	if p.signer, err = keystest.NewSigner("partner-1", algorithm); err != nil {
		t.Fatal(err)
	}
	p.store = newStore(t, keys.Options{Now: p.Now})
	key := &configv1.HttpSignatureKey{Id: "partner-1", Algorithm: algorithm, Principal: "acme", Roles: []string{"partner"}}
	if algorithm == "hmac-sha256" {
		key.Secret = &configv1.Secret{Source: &configv1.Secret_Env{Env: "SECRET"}}
	} else {
		key.PublicKey = &configv1.PublicKey{Source: &configv1.PublicKey_Inline{Inline: p.signer.PEM()}}
	}
	p.cfg = &configv1.Provider{Name: "partners", Kind: &configv1.Provider_HttpSignature{HttpSignature: &configv1.HttpSignature{Keys: []*configv1.HttpSignatureKey{key}}}}
	return p
}

func (p *partner) files() keys.Files {
	return keys.Files{
		Read:   func(string) ([]byte, error) { return []byte(p.signer.PEM()), nil },
		Secret: func(*configv1.Secret) (string, error) { return p.signer.Secret(), nil },
	}
}

func (p *partner) authenticator(t testing.TB) *keys.Authenticator {
	t.Helper()
	provider, err := p.store.Provider(p.cfg, p.files())
	if err != nil {
		t.Fatal(err)
	}
	return keys.NewAuthenticator([]*keys.Provider{provider})
}

// transfer is a request as an edge reads it, and what its sender signs of it.
func transfer(body string) (*policy.Request, []keystest.Component) {
	digest := keystest.ContentDigest(body)
	req := &policy.Request{
		Method: "POST", Scheme: "https", Host: "api.example.com", Port: "8443", Path: "/transfers/a b", Query: "dry=1", Target: "/transfers/a%20b?dry=1",
		Size: int64(len(body)), Body: policy.Body{Bytes: []byte(body)},
		Headers: policy.Headers{{Name: "content-type", Value: "application/json"}, {Name: "content-digest", Value: digest}, {Name: "x-other", Value: "1"}},
	}
	return req, []keystest.Component{
		{ID: `"@method"`, Value: "POST"},
		{ID: `"@authority"`, Value: "api.example.com:8443"},
		{ID: `"@path"`, Value: "/transfers/a%20b"},
		{ID: `"@query"`, Value: "?dry=1"},
		{ID: `"content-type"`, Value: "application/json"},
		{ID: `"content-digest"`, Value: digest},
	}
}

// sign signs, and sends what it signed with a request of its own.
func (p *partner) sign(t testing.TB, req *policy.Request, parameters string, components []keystest.Component) *policy.Request {
	t.Helper()
	input, value, err := p.signer.Sign(parameters, components...)
	if err != nil {
		t.Fatal(err)
	}
	req.Headers = append(slices.Clip(req.Headers), policy.Header{Name: "signature-input", Value: input}, policy.Header{Name: "signature", Value: value})
	p.serial++
	req.Serial = p.serial
	return req
}

// parameters are the usual ones, of a signature that was made so long ago.
func (p *partner) parameters(ago time.Duration) string {
	return fmt.Sprintf(`;created=%d;keyid="partner-1"`, p.now.Add(-ago).Unix())
}

func (p *partner) reason(t testing.TB, auth *keys.Authenticator, req *policy.Request) policy.Reason {
	t.Helper()
	outcome, err := evaluate(t, auth, req)
	switch {
	case err != nil:
		t.Fatal(err)
	case outcome.Verdict == policy.Passed:
		return policy.NoReason
	case fmt.Sprint(outcome.Challenges) != `[Signature realm="kasbah"]`:
		t.Errorf("challenges %q", outcome.Challenges)
	}
	return outcome.Reason
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pss-sha512", "rsa-v1_5-sha256", "hmac-sha256"} {
		p := newPartner(t, algorithm)
		auth := p.authenticator(t)
		req, components := transfer(`{"amount": 7}`)
		outcome, err := evaluate(t, auth, p.sign(t, req, p.parameters(0)+`;alg="`+algorithm+`"`, components))
		if err != nil || outcome.Verdict != policy.Passed {
			t.Errorf("%s: %+v, %v", algorithm, outcome, err)
			continue
		}
		if who := outcome.Principal; who.ID != "acme" || who.Provider != "partners" || fmt.Sprint(who.Roles, who.Claims, outcome.Remove) != "[partner] map[key_id:partner-1] [signature signature-input]" {
			t.Errorf("%s: %+v, removed %v", algorithm, who, outcome.Remove)
		}
		value := &req.Headers[len(req.Headers)-1].Value
		*value = strings.Replace(*value, "sig=:", "sig=:AAAA", 1)
		if got := p.reason(t, auth, req); got != policy.InvalidSignature {
			t.Errorf("%s, another signature: %v", algorithm, got)
		}
		other := newPartner(t, algorithm)
		other.signer.KeyID = "partner-1"
		req, components = transfer(`{"amount": 7}`)
		if got := p.reason(t, auth, other.sign(t, req, p.parameters(0), components)); got != policy.InvalidSignature {
			t.Errorf("%s, another key: %v", algorithm, got)
		}
	}
}

// Each way in which a request is refused that is signed with the right key.
func TestSignatureRefusals(t *testing.T) {
	t.Parallel()
	p := newPartner(t, "ed25519")
	p.cfg.GetHttpSignature().Components = []string{"content-type"}
	auth := p.authenticator(t)
	without := func(id string, all []keystest.Component) []keystest.Component {
		return slices.DeleteFunc(slices.Clone(all), func(c keystest.Component) bool { return c.ID == `"`+id+`"` })
	}
	header := func(req *policy.Request, name, value string) {
		req.Headers = append(req.Headers, policy.Header{Name: name, Value: value})
	}
	replace := func(req *policy.Request, name, value string) {
		for i := range req.Headers {
			if req.Headers[i].Name == name {
				req.Headers[i].Value = value
			}
		}
	}
	type signed struct {
		req        *policy.Request
		parameters string
		components []keystest.Component
	}
	for name, test := range map[string]struct {
		before func(s *signed)           // what is signed otherwise
		after  func(req *policy.Request) // what happens on the way
		want   policy.Reason
	}{
		"nothing": {nil, nil, policy.NoReason},
		"the whole target": {func(s *signed) {
			s.components = append(without("@path", without("@query", without("@authority", s.components))), keystest.Component{ID: `"@target-uri"`, Value: "https://api.example.com:8443/transfers/a%20b?dry=1"})
		}, nil, policy.NoReason},
		"the request's target": {func(s *signed) {
			s.components = append(without("@path", without("@query", s.components)), keystest.Component{ID: `"@request-target"`, Value: "/transfers/a%20b?dry=1"})
		}, nil, policy.NoReason},
		"a header that is not there": {nil, func(req *policy.Request) { req.Headers = req.Headers[1:] }, policy.MalformedCredential},

		"no created":           {func(s *signed) { s.parameters = `;keyid="partner-1"` }, nil, policy.MalformedCredential},
		"no keyid":             {func(s *signed) { s.parameters = fmt.Sprintf(";created=%d", p.now.Unix()) }, nil, policy.UnknownKey},
		"another keyid":        {func(s *signed) { s.parameters = strings.Replace(s.parameters, "partner-1", "partner-2", 1) }, nil, policy.UnknownKey},
		"another algorithm":    {func(s *signed) { s.parameters += `;alg="hmac-sha256"` }, nil, policy.InvalidSignature},
		"an unknown parameter": {func(s *signed) { s.parameters += `;context="x"` }, nil, policy.MalformedCredential},
		"too old":              {func(s *signed) { s.parameters = p.parameters(90 * time.Second) }, nil, policy.Expired},
		"nearly too old":       {func(s *signed) { s.parameters = p.parameters(89 * time.Second) }, nil, policy.NoReason},
		"of the near future":   {func(s *signed) { s.parameters = p.parameters(-30 * time.Second) }, nil, policy.NoReason},
		"of the future":        {func(s *signed) { s.parameters = p.parameters(-31 * time.Second) }, nil, policy.NotYetValid},
		"of the far future":    {func(s *signed) { s.parameters = `;created=999999999999999;keyid="partner-1"` }, nil, policy.NotYetValid},
		"of the beginning":     {func(s *signed) { s.parameters = `;created=0;keyid="partner-1"` }, nil, policy.Expired},
		"expired": {func(s *signed) {
			s.parameters = p.parameters(40*time.Second) + fmt.Sprintf(";expires=%d", p.now.Unix()-30)
		}, nil, policy.Expired},
		"not expired": {func(s *signed) {
			s.parameters = p.parameters(40*time.Second) + fmt.Sprintf(";expires=%d", p.now.Unix()-29)
		}, nil, policy.NoReason},
		"expired before its time": {func(s *signed) { s.parameters = p.parameters(0) + fmt.Sprintf(";expires=%d", p.now.Unix()) }, nil, policy.MalformedCredential},

		"the method not covered":      {func(s *signed) { s.components = without("@method", s.components) }, nil, policy.InvalidSignature},
		"the host not covered":        {func(s *signed) { s.components = without("@authority", s.components) }, nil, policy.InvalidSignature},
		"the path not covered":        {func(s *signed) { s.components = without("@path", s.components) }, nil, policy.InvalidSignature},
		"the query not covered":       {func(s *signed) { s.components = without("@query", s.components) }, nil, policy.InvalidSignature},
		"a demanded header not there": {func(s *signed) { s.components = without("content-type", s.components) }, nil, policy.InvalidSignature},
		"the digest not covered":      {func(s *signed) { s.components = without("content-digest", s.components) }, nil, policy.InvalidSignature},
		"an empty body, not covered": {func(s *signed) {
			s.req.Body, s.req.Size, s.components = policy.Body{}, 0, without("content-digest", s.components)
		}, nil, policy.InvalidSignature},
		"no body by its length": {func(s *signed) {
			s.req.Body, s.req.Size, s.components = policy.Body{}, 0, without("content-digest", s.components)
			header(s.req, "content-length", "0")
		}, nil, policy.NoReason},
		"a GET without a body": {func(s *signed) {
			s.req.Body, s.req.Size, s.req.Method, s.components = policy.Body{}, 0, "GET", without("content-digest", s.components)
			s.components[0].Value = "GET"
		}, nil, policy.NoReason},
		"a GET with a body": {func(s *signed) {
			s.req.Method, s.components = "GET", without("content-digest", s.components)
			s.components[0].Value = "GET"
		}, nil, policy.InvalidSignature},
		"a parameter of the query": {func(s *signed) {
			s.components = append(without("@query", s.components), keystest.Component{ID: `"@query-param";name="dry"`, Value: "1"})
		}, nil, policy.InvalidSignature},
		"a part of a structured field": {func(s *signed) {
			s.components = append(s.components, keystest.Component{ID: `"x-other";sf`, Value: "1"})
		}, nil, policy.MalformedCredential},

		"another body":               {nil, func(req *policy.Request) { req.Body.Bytes[0] = '[' }, policy.InvalidSignature},
		"a longer body":              {nil, func(req *policy.Request) { req.Body.Bytes = append(req.Body.Bytes, ' ') }, policy.InvalidSignature},
		"a body that was cut":        {nil, func(req *policy.Request) { req.Body = policy.Body{Bytes: req.Body.Bytes[:3], Truncated: true} }, policy.BodyTooLarge},
		"a body that only looks cut": {nil, func(req *policy.Request) { req.Body.Truncated = true }, policy.BodyTooLarge},
		"no body, with a size":       {nil, func(req *policy.Request) { req.Body = policy.Body{} }, policy.BodyMissing},
		"no body, with a length":     {nil, func(req *policy.Request) { req.Body, req.Size = policy.Body{}, -1; header(req, "content-length", "13") }, policy.BodyMissing},
		"no body, with an encoding": {nil, func(req *policy.Request) {
			req.Body, req.Size = policy.Body{}, -1
			header(req, "transfer-encoding", "chunked")
		}, policy.BodyMissing},
		"nobody speaks of a body":      {nil, func(req *policy.Request) { req.Body, req.Size = policy.Body{}, -1 }, policy.InvalidSignature},
		"another digest":               {nil, func(req *policy.Request) { replace(req, "content-digest", keystest.ContentDigest("{}")) }, policy.InvalidSignature},
		"a second digest":              {nil, func(req *policy.Request) { header(req, "content-digest", keystest.ContentDigest("{}")) }, policy.MalformedCredential},
		"a second line of a header":    {nil, func(req *policy.Request) { header(req, "content-type", "text/plain") }, policy.MalformedCredential},
		"another header":               {nil, func(req *policy.Request) { replace(req, "x-other", "2") }, policy.NoReason},
		"another covered header":       {nil, func(req *policy.Request) { replace(req, "content-type", "text/plain") }, policy.InvalidSignature},
		"another method":               {nil, func(req *policy.Request) { req.Method = "PUT" }, policy.InvalidSignature},
		"another host":                 {nil, func(req *policy.Request) { req.Host = "api.example.org" }, policy.InvalidSignature},
		"another port":                 {nil, func(req *policy.Request) { req.Port = "443" }, policy.InvalidSignature},
		"another path":                 {nil, func(req *policy.Request) { req.Target = "/transfers/a?dry=1" }, policy.InvalidSignature},
		"another spelling of the path": {nil, func(req *policy.Request) { req.Target = "/transfers/%61%20b?dry=1" }, policy.InvalidSignature},
		"another query":                {nil, func(req *policy.Request) { req.Target = "/transfers/a%20b?dry=0" }, policy.InvalidSignature},
		"no query":                     {nil, func(req *policy.Request) { req.Target = "/transfers/a%20b" }, policy.InvalidSignature},
		"no signature":                 {nil, func(req *policy.Request) { req.Headers = req.Headers[:3] }, policy.MissingCredential},
		"no Signature":                 {nil, func(req *policy.Request) { req.Headers = req.Headers[:4] }, policy.MalformedCredential},
		"two of Signature":             {nil, func(req *policy.Request) { req.Headers = append(req.Headers, req.Headers[4]) }, policy.MalformedCredential},
		"two of Signature-Input":       {nil, func(req *policy.Request) { req.Headers = append(req.Headers, req.Headers[3]) }, policy.MalformedCredential},
		"two labels": {nil, func(req *policy.Request) {
			for i := range 2 {
				h := &req.Headers[3+i].Value
				*h += ", b" + strings.TrimPrefix(*h, "sig")
			}
		}, policy.MalformedCredential},
		"another created": {nil, func(req *policy.Request) {
			replace(req, "signature-input", strings.Replace(req.Headers[3].Value, "created=1800000000", "created=1800000001", 1))
		}, policy.InvalidSignature},
		"components in another order": {nil, func(req *policy.Request) {
			replace(req, "signature-input", strings.Replace(req.Headers[3].Value, `"@path" "@query"`, `"@query" "@path"`, 1))
		}, policy.InvalidSignature},
		"no component any more": {nil, func(req *policy.Request) {
			replace(req, "signature-input", strings.Replace(req.Headers[3].Value, `"content-type" `, ``, 1))
		}, policy.InvalidSignature},
		"a header that another reads so": {nil, func(req *policy.Request) { req.Headers[0].Name = "content_type" }, policy.MalformedCredential},
	} {
		s := &signed{parameters: p.parameters(0)}
		s.req, s.components = transfer(`{"amount": 7}`)
		s.parameters += fmt.Sprintf(`;nonce="%x"`, name)
		if test.before != nil {
			test.before(s)
		}
		req := p.sign(t, s.req, s.parameters, s.components)
		if test.after != nil {
			test.after(req)
		}
		if got := p.reason(t, auth, req); got != test.want {
			outcome, _ := evaluate(t, auth, req)
			t.Errorf("%s: %v, want %v (%s)", name, got, test.want, outcome.Detail)
		}
	}
}

// A signature is good once, whatever the providers are called that know its key.
func TestSignatureIsGoodOnceForAll(t *testing.T) {
	t.Parallel()
	p := newPartner(t, "ed25519")
	var providers []*keys.Provider
	for _, name := range []string{"one", "two"} {
		p.cfg.Name = name
		provider, err := p.store.Provider(p.cfg, p.files())
		if err != nil {
			t.Fatal(err)
		}
		providers = append(providers, provider)
	}
	auth := keys.NewAuthenticator(providers)
	req, components := transfer("{}")
	if got := p.reason(t, auth, p.sign(t, req, p.parameters(0), components)); got != policy.NoReason {
		t.Fatal(got)
	}
	req.Serial++
	if got := p.reason(t, auth, req); got != policy.Replayed {
		t.Errorf("again: %v", got)
	}
}

// A signature is good for one request, which may be asked about twice.
func TestSignatureReplay(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"ed25519", "ecdsa-p256-sha256"} {
		p := newPartner(t, algorithm)
		auth := p.authenticator(t)
		req, components := transfer("{}")
		parameters := p.parameters(0)
		p.sign(t, req, parameters, components)
		for range 2 { // without waiting, and then waiting
			if got := p.reason(t, auth, req); got != policy.NoReason {
				t.Fatalf("%s: %v", algorithm, got)
			}
		}
		again := *req
		again.Serial++
		if got := p.reason(t, auth, &again); got != policy.Replayed {
			t.Errorf("%s, again: %v", algorithm, got)
		}
		same, components := transfer("{}")
		if got := p.reason(t, auth, p.sign(t, same, parameters, components)); got != policy.Replayed {
			t.Errorf("%s, signed again: %v", algorithm, got)
		}
		other, components := transfer("{}")
		if got := p.reason(t, auth, p.sign(t, other, parameters+`;nonce="2"`, components)); got != policy.NoReason {
			t.Errorf("%s, with a nonce: %v", algorithm, got)
		}
		p.now = p.now.Add(89 * time.Second)
		if got := p.reason(t, auth, &again); got != policy.Replayed {
			t.Errorf("%s, at its end: %v", algorithm, got)
		}
		p.now = p.now.Add(time.Second)
		if got := p.reason(t, auth, &again); got != policy.Expired {
			t.Errorf("%s, later: %v", algorithm, got)
		}
		p.now = instant
		p.cfg.GetHttpSignature().AllowReplay = true
		if got := p.reason(t, p.authenticator(t), &again); got != policy.NoReason {
			t.Errorf("%s, where it is allowed: %v", algorithm, got)
		}
	}
}

// A bad request does not use up the signature that it bears.
func TestSignatureIsNotUsedUp(t *testing.T) {
	t.Parallel()
	p := newPartner(t, "ed25519")
	auth := p.authenticator(t)
	req, components := transfer("{}")
	p.sign(t, req, p.parameters(0), components)
	changed := *req
	changed.Body, changed.Serial = policy.Body{Bytes: []byte("[]")}, 100
	if got := p.reason(t, auth, &changed); got != policy.InvalidSignature {
		t.Errorf("with another body: %v", got)
	}
	if got := p.reason(t, auth, req); got != policy.NoReason {
		t.Errorf("then as it was signed: %v", got)
	}
}

// With a tag only the signature that bears it counts.
func TestSignatureTag(t *testing.T) {
	t.Parallel()
	p := newPartner(t, "ed25519")
	p.cfg.GetHttpSignature().Tag = "orders"
	auth := p.authenticator(t)
	send := func(tags ...string) policy.Reason {
		req, components := transfer("{}")
		var inputs, values []string
		for i, tag := range tags {
			parameters := p.parameters(0) + fmt.Sprintf(`;nonce="%d of %v"`, i, strings.ReplaceAll(strings.Join(tags, ""), `"`, ""))
			input, value, err := p.signer.Sign(parameters+tag, components...)
			if err != nil {
				t.Fatal(err)
			}
			label := fmt.Sprintf("s%d", i)
			inputs, values = append(inputs, label+strings.TrimPrefix(input, "sig")), append(values, label+strings.TrimPrefix(value, "sig"))
		}
		req.Headers = append(req.Headers, policy.Header{Name: "signature-input", Value: strings.Join(inputs, ", ")}, policy.Header{Name: "signature", Value: strings.Join(values, ", ")})
		return p.reason(t, auth, req)
	}
	const ours, other = `;tag="orders"`, `;tag="cdn"`
	for name, test := range map[string]struct {
		got, want policy.Reason
	}{
		"ours":           {send(ours), policy.NoReason},
		"beside another": {send(other, ours), policy.NoReason},
		"beside none":    {send("", ours), policy.NoReason},
		"another alone":  {send(other), policy.MissingCredential},
		"none":           {send(""), policy.MissingCredential},
		"two of ours":    {send(ours, ours), policy.MalformedCredential},
		"one of a kind":  {send(`;tag="Orders"`), policy.MissingCredential},
	} {
		if test.got != test.want {
			t.Errorf("%s: %v, want %v", name, test.got, test.want)
		}
	}
}

// Any change of what is covered, of the body or of the signature is refused.
func TestSignatureTampering(t *testing.T) {
	t.Parallel()
	p := newPartner(t, "ed25519")
	p.cfg.GetHttpSignature().AllowReplay = true
	auth := p.authenticator(t)
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.StringN(1, 40, -1).Draw(t, "body")
		req, components := transfer(body)
		req.Headers[0].Value = rapid.StringMatching(`[a-z/]{1,20}`).Draw(t, "type")
		components[4].Value = req.Headers[0].Value
		input, value, err := p.signer.Sign(p.parameters(0), components...)
		if err != nil {
			t.Fatal(err)
		}
		req.Headers = append(req.Headers, policy.Header{Name: "signature-input", Value: input}, policy.Header{Name: "signature", Value: value})
		outcome, err := auth.Evaluate(t.Context(), req, &policy.Principal{})
		if err != nil || outcome.Verdict != policy.Passed {
			t.Fatalf("as it was signed: %+v, %v", outcome, err)
		}
		bytes := string(req.Body.Bytes)
		texts := map[string]*string{
			"method": &req.Method, "scheme": new(string), "host": &req.Host, "port": &req.Port, "target": &req.Target, "body": &bytes,
			"type": &req.Headers[0].Value, "digest": &req.Headers[1].Value, "input": &req.Headers[3].Value, "signature": &req.Headers[4].Value,
		}
		delete(texts, "scheme") // which is not covered here
		names := []string{"method", "host", "port", "target", "body", "type", "digest", "input", "signature"}
		which := rapid.SampledFrom(names).Draw(t, "which")
		text := texts[which]
		at := rapid.IntRange(0, len(*text)).Draw(t, "at")
		insert := rapid.StringMatching(`[ -~]{0,3}`).Draw(t, "insert")
		end := min(len(*text), at+rapid.IntRange(0, 3).Draw(t, "cut"))
		changed := (*text)[:at] + insert + (*text)[end:]
		if changed == *text || which == "type" && strings.Trim(changed, " ") == *text {
			t.Skip("nothing is changed")
		}
		*text = changed
		req.Body.Bytes = []byte(bytes)
		outcome, err = auth.Evaluate(t.Context(), req, &policy.Principal{})
		if err != nil || outcome.Verdict != policy.Denied {
			t.Fatalf("another %s is accepted: %+v, %v", which, outcome, err)
		}
	})
}

func TestSignatureConfiguration(t *testing.T) {
	t.Parallel()
	secret := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32)))
	for name, test := range map[string]struct {
		change func(p *partner, key *configv1.HttpSignatureKey, files *keys.Files)
		field  string
	}{
		"nothing": {func(*partner, *configv1.HttpSignatureKey, *keys.Files) {}, ""},
		"a file": {func(_ *partner, k *configv1.HttpSignatureKey, _ *keys.Files) {
			k.PublicKey.Source = &configv1.PublicKey_File{File: "p.pem"}
		}, ""},
		"no keys": {func(p *partner, _ *configv1.HttpSignatureKey, _ *keys.Files) { p.cfg.GetHttpSignature().Keys = nil }, "http_signature.keys"},
		"from": {func(p *partner, _ *configv1.HttpSignatureKey, _ *keys.Files) {
			p.cfg.From = []*configv1.Location{{Place: &configv1.Location_Header{Header: "x-signature"}}}
		}, "from"},
		"a second key": {func(p *partner, k *configv1.HttpSignatureKey, _ *keys.Files) {
			p.cfg.GetHttpSignature().Keys = []*configv1.HttpSignatureKey{k, k}
		}, "http_signature.keys[1].id"},
		"another algorithm": {func(_ *partner, k *configv1.HttpSignatureKey, _ *keys.Files) { k.Algorithm = "ecdsa-p256-sha256" }, "public_key"},
		"no PEM": {func(_ *partner, k *configv1.HttpSignatureKey, _ *keys.Files) {
			k.PublicKey.Source = &configv1.PublicKey_Inline{Inline: "key"}
		}, "public_key"},
		"two keys in one": {func(p *partner, k *configv1.HttpSignatureKey, _ *keys.Files) {
			k.PublicKey.Source = &configv1.PublicKey_Inline{Inline: p.signer.PEM() + p.signer.PEM()}
		}, "public_key"},
		"no files": {func(_ *partner, k *configv1.HttpSignatureKey, f *keys.Files) {
			k.PublicKey.Source, f.Read = &configv1.PublicKey_File{File: "p.pem"}, nil
		}, "public_key.file"},
		"no secret": {func(_ *partner, k *configv1.HttpSignatureKey, _ *keys.Files) { k.Algorithm = "hmac-sha256" }, "secret"},
		"a short secret": {func(_ *partner, k *configv1.HttpSignatureKey, f *keys.Files) {
			k.Algorithm, k.Secret, f.Secret = "hmac-sha256", &configv1.Secret{}, given("short")
		}, "secret"},
		"a secret in base64": {func(_ *partner, k *configv1.HttpSignatureKey, f *keys.Files) {
			k.Algorithm, k.Secret, k.SecretBase64, f.Secret = "hmac-sha256", &configv1.Secret{}, true, given(secret)
		}, ""},
		"no base64": {func(_ *partner, k *configv1.HttpSignatureKey, f *keys.Files) {
			k.Algorithm, k.Secret, k.SecretBase64, f.Secret = "hmac-sha256", &configv1.Secret{}, true, given(secret+"!")
		}, "secret"},
		"a short one, decoded": {func(_ *partner, k *configv1.HttpSignatureKey, f *keys.Files) {
			k.Algorithm, k.Secret, k.SecretBase64, f.Secret = "hmac-sha256", &configv1.Secret{}, true, given(secret[:40])
		}, "secret"},
	} {
		p := newPartner(t, "ed25519")
		files := p.files()
		test.change(p, p.cfg.GetHttpSignature().GetKeys()[0], &files)
		_, err := p.store.Provider(p.cfg, files)
		field := ""
		var fault *policy.FieldError
		for inner := err; errors.As(inner, &fault); inner = fault.Err {
			field = strings.TrimPrefix(field+"."+fault.Field, ".")
		}
		if want := test.field; field != want && field != "http_signature.keys[0]."+want {
			t.Errorf("%s: %v, want a fault of %q", name, err, want)
		}
	}
}

func given(secret string) func(*configv1.Secret) (string, error) {
	return func(*configv1.Secret) (string, error) { return secret, nil }
}

// What a signed request of 13 bytes costs.
func BenchmarkSignature(b *testing.B) {
	for _, algorithm := range []string{"ed25519", "ecdsa-p256-sha256", "rsa-pss-sha512", "hmac-sha256"} {
		b.Run(algorithm, func(b *testing.B) {
			p := newPartner(b, algorithm)
			auth := p.authenticator(b)
			req, components := transfer(`{"amount": 7}`)
			p.sign(b, req, p.parameters(0), components)
			b.ReportAllocs()
			for b.Loop() {
				if outcome, err := auth.Evaluate(b.Context(), req, &policy.Principal{}); err != nil || outcome.Verdict != policy.Passed {
					b.Fatal(outcome, err)
				}
			}
		})
	}
}
