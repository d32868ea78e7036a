package server

import (
	"context"
	"net/http"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// logoutPath is where issuers send logout tokens to, on the public service.
const logoutPath = "/backchannel-logout"

// maxLogoutWrites is how many logouts are written at once; the others wait, as long as their requests do.
const maxLogoutWrites = 4

// logout returns what answers the logout tokens of the providers' issuers, nil where none is heard. That they can be written is the
// linter's business.
func (c *compiler) logout(message *configv1.RevocationStore, providers []*keys.Provider) http.Handler {
	if message == nil || message.GetFile() != "" {
		return nil
	}
	at, err := c.revocationsAt(message)
	if err != nil {
		return nil // it is reported already
	}
	writing := make(chan struct{}, maxLogoutWrites)
	return c.store.Logout(providers, func(ctx context.Context, record keys.Revocation, now time.Time) error {
		select {
		case writing <- struct{}{}:
			defer func() { <-writing }()
		case <-ctx.Done():
			return ctx.Err()
		}
		store, err := keystore.OpenRevocations(ctx, at.Store)
		if err != nil {
			return err
		}
		defer store.Close()
		for _, window := range record.Windows {
			if err := store.Add(ctx, record.Name, window, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// serveLogout answers with what the configuration in force has.
func (s *Server) serveLogout(w http.ResponseWriter, r *http.Request) {
	current := s.current.Load()
	if current == nil || current.logout == nil {
		http.Error(w, "there is nothing here", http.StatusNotFound)
		return
	}
	current.logout.ServeHTTP(w, r)
}
