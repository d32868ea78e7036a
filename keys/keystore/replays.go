package keystore

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// replayConnections is how many questions about proofs may be open at once; more wait for one that is free.
const replayConnections = 32

// Replays remembers in Redis which proofs were used, for all replicas that share it: one key for each, which Redis forgets by itself.
type Replays struct {
	at     Redis
	client *redis.Client
}

// NewReplays returns what remembers them there. It connects when it is first used.
func NewReplays(at Redis) (*Replays, error) {
	client, err := at.client(replayConnections)
	if err != nil {
		return nil, err
	}
	return &Replays{at, client}, nil
}

// Use remembers a proof for so long, and reports whether nobody has used it before: that is one command, so that of two replicas
// only one is told so. An error is one line without anything secret.
func (r *Replays) Use(ctx context.Context, proof [32]byte, life time.Duration) (first bool, err error) {
	name := r.at.Prefix + "proof:" + base64.RawURLEncoding.EncodeToString(proof[:])
	err = r.client.SetArgs(ctx, name, "", redis.SetArgs{Mode: "NX", TTL: max(life, time.Millisecond).Truncate(time.Millisecond)}).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, r.at.scrub(err)
}

// Close closes the connections.
func (r *Replays) Close() error { return r.at.scrub(r.client.Close()) }
