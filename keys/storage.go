package keys

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/MicahParks/jwkset"
)

// errReadOnly is what every attempt to change a storage gets.
var errReadOnly = errors.New("a key of a compiled key set does not change")

// storage is the jwkset.Storage that keyfunc reads: one key that never changes. The storages that jwkset
// itself offers take a lock on every read, and its HTTP client has the faults that remote.go is there to avoid.
type storage struct{ jwk jwkset.JWK }

var _ jwkset.Storage = storage{}

// KeyRead returns the key if it has that id.
func (s storage) KeyRead(_ context.Context, keyID string) (jwkset.JWK, error) {
	if s.jwk.Marshal().KID != keyID {
		return jwkset.JWK{}, jwkset.ErrKeyNotFound
	}
	return s.jwk, nil
}

// KeyReadAll returns the key; keyfunc asks for all keys when a token names none.
func (s storage) KeyReadAll(context.Context) ([]jwkset.JWK, error) { return []jwkset.JWK{s.jwk}, nil }

// Marshal returns the key in the form of a key set.
func (s storage) Marshal(context.Context) (jwkset.JWKSMarshal, error) {
	return jwkset.JWKSMarshal{Keys: []jwkset.JWKMarshal{s.jwk.Marshal()}}, nil
}

// MarshalWithOptions does what Marshal does; there is nothing private that an option could show or hide.
func (s storage) MarshalWithOptions(ctx context.Context, _ jwkset.JWKMarshalOptions, _ jwkset.JWKValidateOptions) (jwkset.JWKSMarshal, error) {
	return s.Marshal(ctx)
}

// JSON returns the key as a key set document.
func (s storage) JSON(ctx context.Context) (json.RawMessage, error) {
	set, err := s.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(set)
}

// JSONPublic does what JSON does.
func (s storage) JSONPublic(ctx context.Context) (json.RawMessage, error) { return s.JSON(ctx) }

// JSONPrivate does what JSON does: there is no private part.
func (s storage) JSONPrivate(ctx context.Context) (json.RawMessage, error) { return s.JSON(ctx) }

// JSONWithOptions does what JSON does.
func (s storage) JSONWithOptions(ctx context.Context, _ jwkset.JWKMarshalOptions, _ jwkset.JWKValidateOptions) (json.RawMessage, error) {
	return s.JSON(ctx)
}

// KeyDelete is refused.
func (storage) KeyDelete(context.Context, string) (bool, error) { return false, errReadOnly }

// KeyReplaceAll is refused.
func (storage) KeyReplaceAll(context.Context, []jwkset.JWK) error { return errReadOnly }

// KeyWrite is refused.
func (storage) KeyWrite(context.Context, jwkset.JWK) error { return errReadOnly }
