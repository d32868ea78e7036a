package backchannel

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// maxBody is the longest body, in bytes: a token, and what else an issuer may put beside it.
	maxBody = 16 << 10
	// answerWithin is how long verifying and withdrawing may take together.
	answerWithin = 5 * time.Second
)

// Handler answers logout tokens. All of its fields are required.
type Handler struct {
	// Verify returns what a token says whose signature, issuer and audience are good. Its errors hold nothing of the token's text;
	// before it looks for a key it asks [Guard.Allow], whose error it returns.
	Verify func(ctx context.Context, token string) (Notice, error)
	// Withdraw withdraws what a notice names. The answer to the issuer waits for it.
	Withdraw func(ctx context.Context, notice Notice) error
	Guard    *Guard
	Now      func() time.Time
	Logger   *slog.Logger
}

// ServeHTTP implements [http.Handler]: 200 where the logout is written, 400 otherwise (section 2.8), with a reason in JSON that tells a
// stranger nothing of the issuer's keys or sessions; and 429 past the bound on verifying.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	token, err := ReadForm(r)
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	notice, err := h.Verify(ctx, token)
	if errors.Is(err, ErrBusy) {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, "temporarily_unavailable", "too many logouts at once")
		return
	}
	if err != nil {
		if h.Guard.complain(h.Now()) {
			h.Logger.WarnContext(ctx, "a logout token is refused", "err", err)
		}
		refuse(w, http.StatusBadRequest, "invalid_request", "the logout token is not good")
		return
	}
	id := sha256.Sum256([]byte(notice.Issuer + "\xff" + notice.ID)) // no text has that byte
	if !h.Guard.first(id, notice.Expires.Add(maxLeeway), h.Now()) {
		h.Logger.WarnContext(ctx, "a logout token is refused", "issuer", notice.Issuer, "err", "its jti was there before, or too many are remembered")
		refuse(w, http.StatusBadRequest, "invalid_request", "the logout token was there before")
		return
	}
	if err := h.Withdraw(ctx, notice); err != nil {
		h.Guard.forget(id)
		h.Logger.ErrorContext(ctx, "a logout cannot be written", "issuer", notice.Issuer, "err", err)
		refuse(w, http.StatusBadRequest, "temporarily_unavailable", "the logout failed")
		return
	}
	h.Logger.InfoContext(ctx, "a logout", "issuer", notice.Issuer, "session", notice.Session != "")
	w.WriteHeader(http.StatusOK)
}

var (
	errForm   = errors.New("the body is no form of application/x-www-form-urlencoded")
	errLength = errors.New("the body is too long")
	errOne    = errors.New("the form has not one logout_token")
)

// ReadForm returns the logout token of a request's body. Its errors hold nothing of the request. What stands in the address does not
// count; other fields of the form are not looked at.
func ReadForm(r *http.Request) (string, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" || len(r.Header.Values("Content-Type")) != 1 {
		return "", errForm
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return "", errForm
	}
	if len(body) > maxBody {
		return "", errLength
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", errForm
	}
	tokens := form["logout_token"]
	if len(tokens) != 1 || tokens[0] == "" || strings.ContainsAny(tokens[0], " \t\r\n") {
		return "", errOne
	}
	return tokens[0], nil
}

// refuse answers with an error as OAuth has them (RFC 6749, section 5.2). Both texts are ours, and plain.
func refuse(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"error":"`+code+`","error_description":"`+description+`"}`+"\n")
}
