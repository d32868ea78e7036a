package envoytest

import "context"

// StartPostgresOfWheel is StartPostgres on a machine that has no PostgreSQL.
func StartPostgresOfWheel(ctx context.Context, options Options) (*Postgres, error) {
	programs, err := options.installPostgres(ctx)
	if err != nil {
		return nil, err
	}
	return startPostgres(ctx, programs)
}
