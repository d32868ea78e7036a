package server

import (
	"encoding/json"
	"net/http"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// keySetAge is how long the public keys may be kept, as Cache-Control has it. A new key is published long before it signs.
const keySetAge = "public, max-age=300"

// internalToken compiles what is said about tokens of our own.
func (c *compiler) internalToken(message *configv1.InternalToken) *keys.Minter {
	if message == nil {
		return nil
	}
	minter, err := c.store.Minter(message, c.keyFiles())
	if err != nil {
		c.fault("internal_token", err)
		return nil
	}
	return minter
}

// tokenFor returns the injection of a token of our own. Where the caller is only assumed, none is signed: it would be a good one.
func (c *compiler) tokenFor(audiences []string) policy.Injection {
	switch {
	case c.minter == nil: // the configuration is refused
		return policy.Injection{}
	case c.caller != nil:
		return policy.Injection{Name: c.minter.Header(), Value: func(_ *policy.Request, principal *policy.Principal) (string, bool, error) {
			return "(a token)", !principal.Anonymous(), nil
		}}
	}
	return policy.Injection{Name: c.minter.Header(), Value: c.minter.Injection(audiences)}
}

// serveKeySet publishes the keys that verify tokens of our own (RFC 7517, section 5).
func (s *Server) serveKeySet(w http.ResponseWriter, _ *http.Request) {
	minter := s.current.Load().minter
	if minter == nil {
		http.Error(w, "there is nothing here", http.StatusNotFound)
		return
	}
	set, err := minter.KeySet()
	if err != nil {
		http.Error(w, "the key set cannot be written", http.StatusInternalServerError)
		return
	}
	writeDocument(w, set)
}

// serveDiscovery says where the keys are (OpenID Connect Discovery 1.0, section 3; RFC 8414, section 2). There is nothing else:
// nobody gets a token here.
func (s *Server) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	minter := s.current.Load().minter
	if minter == nil {
		http.Error(w, "there is nothing here", http.StatusNotFound)
		return
	}
	document, err := json.Marshal(map[string]any{
		"issuer":                                minter.Issuer(),
		"jwks_uri":                              minter.Issuer() + "/.well-known/jwks.json",
		"response_types_supported":              []string{},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": minter.Algorithms(),
	})
	if err != nil {
		http.Error(w, "the document cannot be written", http.StatusInternalServerError)
		return
	}
	writeDocument(w, document)
}

func writeDocument(w http.ResponseWriter, document []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", keySetAge)
	_, _ = w.Write(document) // a client that went away is no fault
}
