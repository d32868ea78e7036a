package keystest

import (
	"crypto/rand"
	"maps"
	"net/http"
	"time"
)

// maxOpaque is how many opaque tokens are remembered; the next is not given out.
const maxOpaque = 10_000

// Opaque returns a token that says nothing by itself; the introspection endpoint knows what it stands for.
func (i *Issuer) Opaque(claims Claims) string {
	token := rand.Text()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.opaque == nil {
		i.opaque = map[string]map[string]any{}
	}
	if len(i.opaque) >= maxOpaque {
		panic("keystest: too many opaque tokens")
	}
	i.opaque[token] = i.payload(claims)
	return token
}

// Revoke withdraws an opaque token.
func (i *Issuer) Revoke(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.opaque, token)
}

// serveIntrospection answers whether an opaque token is active (RFC 7662). Any client may ask that says who it is.
func (i *Issuer) serveIntrospection(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		refuseMethod(w, "POST")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if _, secret, ok := r.BasicAuth(); !ok || secret == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	i.mu.Lock()
	payload, known := i.opaque[r.FormValue("token")]
	i.mu.Unlock()
	answer := map[string]any{"active": false}
	if end, _ := payload["exp"].(int64); known && i.Now().Before(time.Unix(end, 0)) {
		answer = maps.Clone(payload)
		answer["active"] = true
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	write(w, mustJSON(answer))
}
