package keys

import (
	"net/http"

	"github.com/kasbah-authz/kasbah/keys/internal/outbound"
	"github.com/kasbah-authz/kasbah/policy"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// reachOf reads how a provider's servers are reached. Its file is read now, and its content is part of what is returned: other
// authorities are another way, over which what the former vouched for has not come.
func reachOf(cfg *configv1.HttpClient, files Files) (outbound.Settings, error) {
	settings := outbound.Settings{Proxy: cfg.GetProxy(), PrivateAddresses: cfg.GetPrivateAddresses()}
	if settings.Proxy != "" {
		if _, err := outbound.ParseProxy(settings.Proxy); err != nil {
			return outbound.Settings{}, &policy.FieldError{Field: "client.proxy", Err: err}
		}
	}
	if path := cfg.GetCaFile(); path != "" {
		list, err := readAuthorities(path, files.Read)
		if err != nil {
			return outbound.Settings{}, &policy.FieldError{Field: "client.ca_file", Err: err}
		}
		var all []byte
		for _, authority := range list {
			all = append(all, authority.Raw...)
		}
		settings.Authorities = string(all)
	}
	return settings, nil
}

// client returns the client that reaches servers in that way. Providers with the same settings share one, and its connections.
func (s *Store) client(settings outbound.Settings) (*http.Client, error) {
	if s.replaced != nil {
		return s.replaced, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if client := s.clients[settings]; client != nil {
		return client, nil
	}
	client, err := outbound.New(settings, s.proxy)
	if err != nil {
		return nil, &policy.FieldError{Field: "client", Err: err}
	}
	s.clients[settings] = client
	return client, nil
}
