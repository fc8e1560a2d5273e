package trigger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// azurePostgres is the resource that tokens for Azure's PostgreSQL are for.
const azurePostgres = "https://ossrdbms-aad.database.windows.net/.default"

var (
	errNull  = errors.New("the query gives NULL; give 0 instead, for example with COALESCE(..., 0)")
	errNoRow = errors.New("the query gives no row; write it so that it gives one number")
)

// single reads one number by a query over one kept connection.
func (p *probe) single(db *sql.DB, query string, activation float64) {
	db.SetMaxOpenConns(1)
	db.SetConnMaxIdleTime(5 * time.Minute)
	p.free = db.Close
	p.ask = func(ctx context.Context) (sample, error) {
		var value sql.NullFloat64
		if err := db.QueryRowContext(ctx, query).Scan(&value); err != nil {
			return sample{}, queryError(err)
		}
		if !value.Valid {
			return sample{}, errNull
		}
		return sample{value: value.Float64, active: value.Float64 > activation}, nil
	}
}

func queryError(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return errNoRow
	}
	return err
}

// postgresSource can be told of changes when the user names a channel.
type postgresSource struct {
	*probe
	config  *pgx.ConnConfig
	channel string
}

// newPostgreSQL reads one number by a query. With "notifyChannel" in the metadata, which is Escale's own, it reads
// again as soon as something is notified on that channel, for example by a trigger of the queue's table.
func newPostgreSQL(c Config) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	metric, err := c.metric("postgresql", "targetQueryValue", v.Float("targetQueryValue"))
	if err != nil {
		return nil, err
	}
	address, err := postgresAddress(v)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New(`"connection" is no connection string of PostgreSQL; write it as postgresql://user:password@host:5432/database`)
	}
	config.ConnectTimeout = readLimit
	if c.Dialer != nil {
		config.DialFunc = c.Dialer.DialContext
		config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	}
	var options []stdlib.OptionOpenDB
	if c.Identity.Provider == "azure-workload" {
		credential, err := c.azureCredential()
		if err != nil {
			return nil, err
		}
		options = append(options, stdlib.OptionBeforeConnect(func(ctx context.Context, config *pgx.ConnConfig) error {
			token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{azurePostgres}})
			config.Password = token.Token
			return err
		}))
	}
	p := c.probe(metric, v)
	p.single(stdlib.OpenDB(*config, options...), v.Text("query"), v.Float("activationTargetQueryValue"))
	if channel := c.Metadata["notifyChannel"]; channel != "" && len(options) == 0 {
		return &postgresSource{probe: p, config: config, channel: channel}, nil
	}
	return p, nil
}

func postgresAddress(v schema.Values) (string, error) {
	if v.Text("connection") != "" {
		return v.Text("connection"), nil
	}
	var parts []string
	for _, p := range []struct{ name, key string }{{"host", "host"}, {"port", "port"}, {"userName", "user"}, {"dbName", "dbname"}, {"sslmode", "sslmode"}} {
		if v.Text(p.name) == "" {
			return "", fmt.Errorf(`%q is missing: set it, or "connection" in the TriggerAuthentication`, p.name)
		}
		parts = append(parts, p.key+"="+quotePostgres(v.Text(p.name)))
	}
	return strings.Join(append(parts, "password="+quotePostgres(v.Text("password"))), " "), nil
}

func quotePostgres(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// Watch listens on the channel over a connection of its own.
func (s *postgresSource) Watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closed, cancel)()
	err := s.listen(ctx, changed)
	if ctx.Err() != nil {
		return nil
	}
	return s.secrets.scrub(err)
}

func (s *postgresSource) listen(ctx context.Context, changed func()) error {
	conn, err := pgx.ConnectConfig(ctx, s.config.Copy())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel}.Sanitize()); err != nil {
		return err
	}
	for {
		changed()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
