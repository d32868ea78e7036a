package server

import (
	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystore"
	configv1 "github.com/kasbah-authz/kasbah/proto/kasbah/config/v1"
)

// replays returns what remembers the proofs that were used. Redis is not asked: whoever shows a proof does so.
func (c *compiler) replays(message *configv1.Replay) *keys.Replay {
	var shared *keys.SharedReplays
	if redis := message.GetRedis(); redis != nil {
		url, err := c.secret(redis.GetUrl())
		if err != nil {
			c.fault("replay.redis.url", err)
			return nil
		}
		at := keystore.Redis{URL: string(url), Prefix: redis.GetPrefix()}
		if err := at.Check(); err != nil {
			c.fault("replay.redis.url", err)
			return nil
		}
		shared = &keys.SharedReplays{ID: at, Source: at.Source(), Open: func() (keys.Replays, error) { return keystore.NewReplays(at) }}
	}
	replay, err := c.store.Replay(message, shared)
	if err != nil {
		c.fault("replay.redis", err)
	}
	return replay
}
