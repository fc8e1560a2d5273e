package trigger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// jetStream reads a consumer's backlog from NATS' monitoring endpoint.
type jetStream struct {
	client                    *web
	scheme, host              string
	account, stream, consumer string

	mu sync.Mutex
	// leader is the host that answered for the consumer last, in a cluster.
	leader string
}

// newJetStream counts the messages that a consumer has not acknowledged, delivered or not.
func newJetStream(c Config) (Source, error) {
	v, err := c.values()
	if err != nil {
		return nil, err
	}
	account := cmp.Or(v.Text("accountID"), v.Text("account"))
	if account == "" {
		return nil, errors.New(`set "account" or "accountID"`)
	}
	metric, err := c.metric("nats-jetstream-"+v.Text("stream"), "lagThreshold", float64(v.Int("lagThreshold")))
	if err != nil {
		return nil, err
	}
	p := c.probe(metric, v)
	js := newJetStreamReader(v, account, newWeb(c.Dialer, webAuth{}, nil, p.limit))
	p.free = js.client.close
	p.ask = func(ctx context.Context) (sample, error) {
		lag, err := js.lag(ctx)
		return sample{value: lag, active: lag > float64(v.Int("activationLagThreshold"))}, err
	}
	return p, nil
}

func newJetStreamReader(v schema.Values, account string, client *web) *jetStream {
	js := &jetStream{client: client, scheme: "http", host: v.Text("natsServerMonitoringEndpoint"), account: account, stream: v.Text("stream"), consumer: v.Text("consumer")}
	if v.Bool("useHttps") {
		js.scheme = "https"
	}
	return js
}

// jetStreamReport is what /jsz tells of the streams of an account.
type jetStreamReport struct {
	Accounts []struct {
		ID      string `json:"id"`
		Name    string `json:"name"`
		Streams []struct {
			Name      string              `json:"name"`
			Consumers []jetStreamConsumer `json:"consumer_detail"`
		} `json:"stream_detail"`
	} `json:"account_details"`
}

type jetStreamConsumer struct {
	Name    string  `json:"name"`
	Pending float64 `json:"num_pending"`
	Unacked float64 `json:"num_ack_pending"`
	Cluster struct {
		Leader string `json:"leader"`
	} `json:"cluster"`
}

// natsServer is what /varz tells of a server and its cluster.
type natsServer struct {
	Name        string   `json:"server_name"`
	ConnectURLs []string `json:"connect_urls"`
	Cluster     struct {
		URLs []string `json:"urls"`
	} `json:"cluster"`
}

// lag asks the consumer's leader; only its numbers are up to date.
func (j *jetStream) lag(ctx context.Context) (float64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	host := cmp.Or(j.leader, j.host)
	j.leader = ""
	consumer, err := j.ask(ctx, host)
	if err != nil && host != j.host {
		host = j.host
		consumer, err = j.ask(ctx, host)
	}
	if err != nil {
		return 0, err
	}
	if consumer.Cluster.Leader != "" {
		if host, consumer, err = j.followLeader(ctx, host, consumer); err != nil {
			return 0, err
		}
		j.leader = host
	}
	return consumer.Pending + consumer.Unacked, nil
}

// followLeader finds the server that leads the consumer among those of the cluster.
func (j *jetStream) followLeader(ctx context.Context, host string, consumer jetStreamConsumer) (string, jetStreamConsumer, error) {
	server, err := j.server(ctx, host)
	if err != nil || server.Name == consumer.Cluster.Leader {
		return host, consumer, err
	}
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		return host, consumer, fmt.Errorf("the monitoring endpoint %q has no port: %w", host, err)
	}
	for _, address := range append(server.ConnectURLs, server.Cluster.URLs...) {
		name, _, err := net.SplitHostPort(address)
		if err != nil {
			name = address
		}
		candidate := net.JoinHostPort(name, port)
		other, err := j.server(ctx, candidate)
		if err != nil || other.Name != consumer.Cluster.Leader {
			continue
		}
		consumer, err = j.ask(ctx, candidate)
		return candidate, consumer, err
	}
	return host, consumer, fmt.Errorf("the leader %q of consumer %q is not among the cluster's servers", consumer.Cluster.Leader, j.consumer)
}

func (j *jetStream) ask(ctx context.Context, host string) (jetStreamConsumer, error) {
	query := url.Values{"acc": {j.account}, "consumers": {"true"}, "config": {"true"}}
	var report jetStreamReport
	if err := j.read(ctx, host, "/jsz?"+query.Encode(), &report); err != nil {
		return jetStreamConsumer{}, err
	}
	for _, account := range report.Accounts {
		if account.ID != j.account && account.Name != j.account {
			continue
		}
		for _, stream := range account.Streams {
			for _, consumer := range stream.Consumers {
				if stream.Name == j.stream && consumer.Name == j.consumer {
					return consumer, nil
				}
			}
		}
	}
	return jetStreamConsumer{}, fmt.Errorf("stream %q has no consumer %q in account %q", j.stream, j.consumer, j.account)
}

func (j *jetStream) server(ctx context.Context, host string) (natsServer, error) {
	var server natsServer
	return server, j.read(ctx, host, "/varz", &server)
}

func (j *jetStream) read(ctx context.Context, host, path string, into any) error {
	body, err := j.client.get(ctx, j.scheme+"://"+host+path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s is not NATS' monitoring endpoint: %w", host, err)
	}
	return nil
}
