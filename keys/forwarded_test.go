package keys_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

const (
	xfcc    = "x-forwarded-client-cert"
	gateway = "spiffe://cluster.local/ns/edge/sa/gateway"
)

// element writes what Envoy says of a client.
func element(c *keystest.Certificate) string {
	text := "By=" + gateway + ";Hash=" + c.Fingerprint() + `;Cert="` + c.Encoded() + `";Subject="` + c.Subject.String() + `"`
	for _, uri := range c.URIs {
		text += ";URI=" + uri.String()
	}
	for _, name := range c.DNSNames {
		text += ";DNS=" + name
	}
	return text
}

// through is a request over a connection from that address, by a peer of that name, with lines of the header.
func through(address, principal string, values ...string) *policy.Request {
	req := &policy.Request{Source: policy.Peer{Address: address, Principal: principal}}
	for _, value := range values {
		req.Headers = append(req.Headers, policy.Header{Name: xfcc, Value: value})
	}
	return req
}

// trusting makes 10.0.0.0/8 the address of the proxies, and believes what they say.
func trusting(c *configv1.ClientCertificate) {
	c.CaFile, c.VerifiedByEnvoy = "", true
	c.Forwarded = &configv1.ForwardedCertificate{Addresses: []string{"10.0.0.0/8"}}
}

// TestForwardedHops: from whom the header is believed, and what the upstream sees of it.
func TestForwardedHops(t *testing.T) {
	f := newCertificateFixture(t)
	client, proxy := f.authority.Issue(svid(workload)), f.authority.Issue(svid(gateway))
	direct := func(req *policy.Request, c *keystest.Certificate) *policy.Request {
		req.Source.Certificate, req.Source.Principal = c.Encoded(), c.URIs[0].String()
		return req
	}
	byName := func(c *configv1.ClientCertificate) {
		c.Forwarded = &configv1.ForwardedCertificate{Principals: []string{gateway}}
	}
	byBoth := func(c *configv1.ClientCertificate) { byName(c); c.Forwarded.Addresses = []string{"10.0.0.0/8"} }
	header := element(client)
	for name, c := range map[string]struct {
		change func(*configv1.ClientCertificate)
		req    *policy.Request
		want   any  // the id, or the reason
		passes bool // with forward, the header goes on
	}{
		"from the address":              {trusting, through("10.1.2.3", "", header), workload, true},
		"from the address, as IPv6":     {trusting, through("::ffff:10.1.2.3", "", header), workload, true},
		"from elsewhere":                {trusting, through("192.0.2.1", "", header), policy.MissingCredential, false},
		"from a socket":                 {trusting, through("", "", header), policy.MissingCredential, false},
		"from elsewhere, and a own one": {trusting, direct(through("192.0.2.1", "", header), proxy), gateway, false},
		"by the name":                   {byName, direct(through("192.0.2.1", "", header), proxy), workload, true},
		"by another name":               {byName, direct(through("192.0.2.1", "", header), client), workload, false},
		"by no name":                    {byName, through("192.0.2.1", "", header), policy.MissingCredential, false},
		"by a name that begins so":      {byName, through("192.0.2.1", gateway+"2", header), policy.MalformedCredential, false},
		"both, and both hold":           {byBoth, direct(through("10.0.0.1", "", header), proxy), workload, true},
		"both, and the name only":       {byBoth, direct(through("192.0.2.1", "", header), proxy), gateway, false},
		"both, and the address only":    {byBoth, through("10.0.0.1", "", header), policy.MissingCredential, false},
		// A proxy that says nothing of its client had one without a certificate: the proxy itself is not calling.
		"the proxy without the header": {byName, direct(through("10.0.0.1", ""), proxy), policy.MissingCredential, false},
		"two lines":                    {trusting, through("10.0.0.1", "", header, header), policy.MalformedCredential, false},
		"an empty line":                {trusting, through("10.0.0.1", "", ""), policy.MalformedCredential, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, forward := range []bool{false, true} {
				auth := f.auth(t, certificateOf(c.change), func(p *configv1.Provider) { p.Forward = forward })
				outcome, err := evaluate(t, auth, c.req)
				if err != nil {
					t.Fatal(err)
				}
				id, accepted := c.want.(string)
				if !accepted {
					if outcome.Reason != c.want {
						t.Errorf("%v (%s), want %v", outcome.Reason, outcome.Detail, c.want)
					}
					continue
				}
				if outcome.Principal == nil || outcome.Principal.ID != id {
					t.Fatalf("%+v, %s; want %s", outcome.Principal, outcome.Detail, id)
				}
				if removed := slices.Contains(outcome.Remove, xfcc); removed == (forward && c.passes) {
					t.Errorf("forward %t: the header is removed: %t", forward, removed)
				}
			}
		})
	}
	// Somebody else who is let in does not bring the header to the upstream either.
	key, id := newAPIKey(t)
	partners, err := apiKeyProvider(f.store, "x-api-key", &configv1.ApiKeyEntry{Id: id, Owner: "acme", Secrets: []*configv1.ApiKeySecret{secretOf(key)}})
	if err != nil {
		t.Fatal(err)
	}
	mesh, err := f.provider(certificateOf(trusting), func(p *configv1.Provider) { p.Forward = true })
	if err != nil {
		t.Fatal(err)
	}
	req := through("192.0.2.1", "", header)
	req.Headers = append(req.Headers, policy.Header{Name: "x-api-key", Value: key})
	outcome, err := keys.NewAuthenticator([]*keys.Provider{mesh, partners}).Evaluate(t.Context(), req, &policy.Principal{})
	if err != nil || outcome.Principal == nil || !slices.Contains(outcome.Remove, xfcc) {
		t.Errorf("%+v, %v", outcome, err)
	}
}

// TestForwardedElements: which element counts, and what its form must be.
func TestForwardedElements(t *testing.T) {
	f := newCertificateFixture(t)
	client, other := f.authority.Issue(svid(workload)), f.authority.Issue(svid("spiffe://cluster.local/other"))
	zeros := strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		element uint32
		header  string
		want    any // the id, or the reason
	}{
		"as Istio writes it":          {1, "By=spiffe://cluster.local/ns/b/sa/b;Hash=" + zeros + `;Subject="";URI=` + workload, workload},
		"the name alone":              {1, "URI=" + workload, workload},
		"keys in another case":        {1, "uRi=" + workload + ";HASH=" + strings.Repeat("A", 64), workload},
		"quoted":                      {1, `URI="` + workload + `"`, workload},
		"a subject with punctuation":  {1, `Subject="CN=a\,b\;c=d\"e\\";URI=` + workload, workload},
		"several of By":               {1, "By=spiffe://a/b;By=spiffe://a/c;URI=" + workload, workload},
		"the last of two":             {1, "URI=spiffe://cluster.local/other,URI=" + workload, workload},
		"the second from the right":   {2, "URI=" + workload + ",URI=" + gateway, workload},
		"the second of three":         {2, "URI=spiffe://cluster.local/other,URI=" + workload + ",URI=" + gateway, workload},
		"fewer than there must be":    {2, "URI=" + workload, policy.MissingCredential},
		"with a certificate":          {1, element(client), workload},
		"another's certificate":       {1, strings.Replace(element(client), client.Encoded(), other.Encoded(), 1), policy.MalformedCredential},
		"another's hash":              {1, strings.Replace(element(client), client.Fingerprint(), other.Fingerprint(), 1), policy.MalformedCredential},
		"another's name":              {1, strings.Replace(element(client), "URI="+workload, "URI=spiffe://cluster.local/other", 1), policy.MalformedCredential},
		"a second name":               {1, element(client) + ";URI=spiffe://cluster.local/other", policy.MalformedCredential},
		"a DNS name that it has not":  {1, element(client) + ";DNS=a.example", policy.MalformedCredential},
		"two URIs":                    {1, "URI=" + workload + ";URI=" + workload, policy.InvalidClaims},
		"an empty URI":                {1, "URI=;Hash=" + zeros, policy.InvalidClaims},
		"no URI":                      {1, "Hash=" + zeros, policy.InvalidClaims},
		"two Hashes":                  {1, "Hash=" + zeros + ";Hash=" + zeros + ";URI=" + workload, policy.MalformedCredential},
		"two Subjects":                {1, `Subject="";subject="";URI=` + workload, policy.MalformedCredential},
		"two Certs":                   {1, element(client) + `;Cert="` + client.Encoded() + `"`, policy.MalformedCredential},
		"two certificates in Cert":    {1, `Cert="` + client.Encoded() + other.Encoded() + `"`, policy.MalformedCredential},
		"an empty Cert":               {1, `Cert="";URI=` + workload, policy.MalformedCredential},
		"a Cert that is none":         {1, `Cert="a";URI=` + workload, policy.MalformedCredential},
		"a Chain without a Cert":      {1, `Chain="` + client.Encoded() + `";URI=` + workload, policy.MalformedCredential},
		"a Hash that is none":         {1, "Hash=zz;URI=" + workload, policy.MalformedCredential},
		"a short Hash":                {1, "Hash=00;URI=" + workload, policy.MalformedCredential},
		"an unknown key":              {1, "Role=admin;URI=" + workload, policy.MalformedCredential},
		"a space behind the comma":    {1, "URI=spiffe://cluster.local/other, URI=" + workload, policy.MalformedCredential},
		"a quote that does not end":   {1, `Subject="CN=a;URI=` + workload, policy.MalformedCredential},
		"an escape at the end":        {1, `URI=` + workload + `;Subject="\`, policy.MalformedCredential},
		"something behind a quote":    {1, `Subject="a"b;URI=` + workload, policy.MalformedCredential},
		"a quote within":              {1, `URI=` + workload + `"`, policy.MalformedCredential},
		"a backslash":                 {1, `URI="` + workload + `\x"`, policy.MalformedCredential},
		"a comma at the end":          {1, "URI=" + workload + ",", policy.MalformedCredential},
		"a comma at the beginning":    {1, ",URI=" + workload, policy.MalformedCredential},
		"a semicolon at the end":      {1, "URI=" + workload + ";", policy.MalformedCredential},
		"no value":                    {1, "URI", policy.MalformedCredential},
		"no key":                      {1, "=" + workload, policy.MalformedCredential},
		"a NUL":                       {1, "URI=" + workload + "\x00", policy.MalformedCredential},
		"beyond ASCII":                {1, `Subject="CN=é";URI=` + workload, policy.MalformedCredential},
		"a fault in a stranger's":     {1, "junk,URI=" + workload, policy.MalformedCredential},
		"an open quote before it":     {1, `Subject=",URI=` + workload, policy.MalformedCredential},
		"an open quote, closed by it": {1, `Subject=",By=a;Subject="";URI=` + workload, policy.MalformedCredential},
		"a hundred elements":          {1, strings.Repeat("By=a,", 99) + "URI=" + workload, workload},
		"more elements":               {1, strings.Repeat("By=a,", 100) + "URI=" + workload, policy.MalformedCredential},
		"too long":                    {1, "URI=" + workload + ";" + strings.Repeat("By=a;", 64<<10/5) + "By=a", policy.MalformedCredential},
	} {
		t.Run(name, func(t *testing.T) {
			auth := f.auth(t, certificateOf(func(cfg *configv1.ClientCertificate) { trusting(cfg); cfg.Forwarded.Element = c.element }))
			outcome, err := evaluate(t, auth, through("10.0.0.1", "", c.header))
			if err != nil {
				t.Fatal(err)
			}
			if id, ok := c.want.(string); ok {
				if outcome.Principal == nil || outcome.Principal.ID != id {
					t.Errorf("%+v, %s; want %s", outcome.Principal, outcome.Detail, id)
				}
			} else if outcome.Reason != c.want {
				t.Errorf("%v (%s), want %v", outcome.Reason, outcome.Detail, c.want)
			}
		})
	}
	// With authorities of our own the certificate must be there.
	auth := f.auth(t, certificateOf(func(c *configv1.ClientCertificate) {
		c.Forwarded = &configv1.ForwardedCertificate{Addresses: []string{"10.0.0.0/8"}}
	}))
	for header, want := range map[string]policy.Reason{
		element(client): policy.NoReason, "URI=" + workload: policy.MalformedCredential,
		element(keystest.NewAuthority("root", instant).Issue(svid(workload))): policy.WrongIssuer,
	} {
		if got, detail := why(t, auth, through("10.0.0.1", "", header)); got != want {
			t.Errorf("%.60s: %v (%s), want %v", header, got, detail, want)
		}
	}
}

// TestForwardedClaims: what is known of a caller by some of its names alone.
func TestForwardedClaims(t *testing.T) {
	f := newCertificateFixture(t)
	auth := f.auth(t, certificateOf(trusting))
	hash := strings.Repeat("aB", 32)
	outcome, err := evaluate(t, auth, through("10.0.0.1", "", "Hash="+hash+";URI="+workload+";DNS=a.example;DNS=b.example"))
	if err != nil {
		t.Fatal(err)
	}
	want := &policy.Principal{ID: workload, Provider: "mesh", Subject: workload, Issuer: "spiffe://cluster.local", Claims: map[string]any{
		"uris": []any{workload}, "dns": []any{"a.example", "b.example"}, "fingerprint": strings.ToLower(hash),
	}}
	if diff := cmp.Diff(want, outcome.Principal); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEvidenceOfOneKind: what a proxy says is never looked up as what a connection shows.
func TestEvidenceOfOneKind(t *testing.T) {
	f := newCertificateFixture(t)
	auth := f.auth(t, certificateOf(trusting))
	text := "URI=" + workload
	if got, _ := why(t, auth, through("10.0.0.1", "", text)); got != policy.NoReason {
		t.Fatal(got)
	}
	if got, _ := why(t, auth, shows(text)); got != policy.MalformedCredential {
		t.Errorf("%v", got)
	}
}

// written is a pair of an element as a proxy may write it.
var written = rapid.Custom(func(t *rapid.T) string {
	key := rapid.SampledFrom([]string{"By", "URI", "DNS", "Hash", "Subject", "uri"}).Draw(t, "key")
	value := rapid.StringMatching(`[a-zA-Z0-9:/._=-]{0,12}`).Draw(t, "value")
	if key == "Subject" || rapid.Bool().Draw(t, "quoted") {
		value = `"` + value + rapid.SampledFrom([]string{"", ",", ";", "="}).Draw(t, "punctuation") + `"`
	}
	return key + "=" + value
})

// TestForwardedCounts: whatever well-formed elements stand before that of the proxy, they do not change who is calling.
func TestForwardedCounts(t *testing.T) {
	f := newCertificateFixture(t)
	auth := f.auth(t, certificateOf(trusting))
	rapid.Check(t, func(rt *rapid.T) {
		var elements []string
		for _, pairs := range rapid.SliceOfN(rapid.SliceOfNDistinct(written, 1, 4, func(pair string) string {
			key, _, _ := strings.Cut(pair, "=")
			return strings.ToLower(key)
		}), 0, 5).Draw(rt, "elements") {
			elements = append(elements, strings.Join(pairs, ";"))
		}
		elements = append(elements, "URI="+workload)
		outcome, err := evaluate(t, auth, through("10.0.0.1", "", strings.Join(elements, ",")))
		if err != nil || outcome.Principal == nil || outcome.Principal.ID != workload {
			rt.Fatalf("%+v, %v", outcome, err)
		}
	})
}

// FuzzForwarded: whatever the client has written before it, the proxy's element says who is calling, or nobody is.
func FuzzForwarded(f *testing.F) {
	fixture := newCertificateFixture(f)
	auth := fixture.auth(f, certificateOf(trusting))
	own := "By=" + gateway + `;Hash=` + strings.Repeat("0", 64) + `;Subject="CN=a,O=b";URI=` + workload
	for _, seed := range []string{
		"", "URI=spiffe://cluster.local/root", `Subject="`, `Subject="\`, `Subject=",URI="`, "By=a;By=b,URI=c", `Cert="";Chain=""`, "x=y", ",", ";", `"`, "\\",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, before string) {
		for _, header := range []string{before, before + "," + own, before + own} {
			outcome, err := evaluate(t, auth, through("10.0.0.1", "", header))
			if err != nil {
				t.Fatal(err)
			}
			if p := outcome.Principal; header != before+","+own && p != nil {
				if !strings.HasPrefix(p.ID, "spiffe://cluster.local/") || !strings.Contains(header, p.ID) {
					t.Errorf("%q is %q", header, p.ID)
				}
			} else if p != nil && p.ID != workload {
				t.Errorf("%q makes the caller %q", header, p.ID)
			}
		}
	})
}
