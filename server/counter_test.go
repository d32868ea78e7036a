package server_test

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/stats"
)

// connectionCounter counts the connections that a client makes.
type connectionCounter struct{ count *atomic.Int64 }

func (connectionCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (connectionCounter) HandleRPC(context.Context, stats.RPCStats)                       {}
func (connectionCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}

func (c connectionCounter) HandleConn(_ context.Context, event stats.ConnStats) {
	if _, ok := event.(*stats.ConnBegin); ok {
		c.count.Add(1)
	}
}
