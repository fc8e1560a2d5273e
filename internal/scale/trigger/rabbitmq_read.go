package trigger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// amqpQueue counts a queue's messages over one kept connection.
type amqpQueue struct {
	address string
	queue   string
	config  amqp.Config
	dialer  *Dialer

	mu      sync.Mutex
	socket  net.Conn
	conn    *amqp.Connection
	channel *amqp.Channel
}

func (s rabbitSettings) readAMQP(p *probe, name string) error {
	v := s.values
	address, err := amqp.ParseURI(v.Text("host"))
	if err != nil {
		return errors.New(`"host" is no AMQP address; write it as amqp://user:password@host:5672/vhost`)
	}
	address.Vhost = cmp.Or(v.Text("vhostName"), address.Vhost)
	if v.Text("username") != "" {
		address.Username, address.Password = v.Text("username"), v.Text("password")
	}
	q := &amqpQueue{address: address.String(), queue: v.Text("queueName"), dialer: s.dialer}
	q.config = amqp.Config{Heartbeat: 10 * time.Second, Properties: amqp.Table{"connection_name": name}}
	if v.Text("tls") == "enable" || address.Scheme == "amqps" {
		if q.config.TLSClientConfig, err = s.trust.config(); err != nil {
			return err
		}
		host, err := url.Parse(v.Text("host"))
		if err == nil && v.Text("cert") != "" && v.Text("username") == "" && host.User == nil {
			q.config.SASL = []amqp.Authentication{&amqp.ExternalAuth{}}
		}
	}
	p.free = q.close
	p.ask = func(ctx context.Context) (sample, error) {
		messages, err := q.count(ctx)
		return s.sample(rabbitQueue{messages: messages}), err
	}
	return nil
}

// count asks for the messages that are ready. It holds the connection while it asks; the socket is closed when ctx ends,
// since the protocol's calls know no deadline.
func (q *amqpQueue) count(ctx context.Context) (float64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err := q.connect(ctx); err != nil {
		q.drop()
		return 0, cmp.Or(ctx.Err(), err)
	}
	socket := q.socket
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	defer stop()
	got, err := q.channel.QueueDeclarePassive(q.queue, false, false, false, false, nil)
	if err == nil {
		return float64(got.Messages), nil
	}
	q.channel = nil
	var refused *amqp.Error
	if errors.As(err, &refused) && refused.Code == amqp.NotFound {
		return 0, fmt.Errorf("queue %q does not exist; declare it, or correct queueName", q.queue)
	}
	q.drop()
	return 0, cmp.Or(ctx.Err(), err)
}

// connect opens what is not open.
func (q *amqpQueue) connect(ctx context.Context) error {
	if q.conn == nil || q.conn.IsClosed() {
		config := q.config
		config.Dial = func(network, address string) (net.Conn, error) {
			socket, err := q.dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			if deadline, ok := ctx.Deadline(); ok {
				err = socket.SetDeadline(deadline)
			}
			q.socket = socket
			return socket, err
		}
		conn, err := amqp.DialConfig(q.address, config)
		if err != nil {
			return err
		}
		q.conn, q.channel = conn, nil
	}
	if q.channel != nil && !q.channel.IsClosed() {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { q.socket.Close() })
	defer stop()
	channel, err := q.conn.Channel()
	q.channel = channel
	return err
}

// drop lets go of a connection that is of no use any more.
func (q *amqpQueue) drop() {
	if q.socket != nil {
		q.socket.Close()
	}
	q.socket, q.conn, q.channel = nil, nil, nil
}

func (q *amqpQueue) close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var err error
	if q.conn != nil && !q.conn.IsClosed() {
		err = q.conn.CloseDeadline(time.Now().Add(time.Second))
	}
	q.drop()
	return err
}

// managedQueue is a queue as the management API tells it.
type managedQueue struct {
	Messages float64 `json:"messages"`
	Ready    float64 `json:"messages_ready"`
	Stats    struct {
		Publish struct{ Rate float64 } `json:"publish_details"`
		Deliver struct{ Rate float64 } `json:"deliver_get_details"`
	} `json:"message_stats"`
}

func (s rabbitSettings) readHTTP(p *probe) error {
	address, err := s.managementAddress()
	if err != nil {
		return err
	}
	config, err := s.trust.config()
	if err != nil {
		return err
	}
	client := newWeb(s.dialer, s.auth, config, p.limit)
	p.free = client.close
	p.ask = func(ctx context.Context) (sample, error) {
		body, err := client.get(ctx, address, nil)
		if err != nil {
			return sample{}, err
		}
		queues, err := s.parseQueues(body)
		return s.sample(s.combine(queues)), err
	}
	return nil
}

// managementAddress is the API's address of the queue, or of all that match.
func (s rabbitSettings) managementAddress() (string, error) {
	v := s.values
	host, err := url.Parse(v.Text("host"))
	if err != nil || host.Host == "" {
		return "", errors.New(`"host" is no URL; write it as http://user:password@host:15672/vhost`)
	}
	parts := strings.Split(host.EscapedPath(), "/")
	vhost, before := parts[len(parts)-1], path.Join(parts[:len(parts)-1]...)
	if v.Text("vhostName") != "" {
		vhost = url.QueryEscape(v.Text("vhostName"))
	}
	vhost = cmp.Or(vhost, "%2F")
	if v.Text("username") != "" {
		host.User = url.UserPassword(v.Text("username"), v.Text("password"))
	}
	base := host.Scheme + "://"
	if host.User != nil {
		base += host.User.String() + "@"
	}
	base += host.Host
	if before != "" {
		base += "/" + strings.TrimPrefix(before, "/")
	}
	queue := url.QueryEscape(v.Text("queueName"))
	if !v.Bool("useRegex") {
		return base + "/api/queues/" + vhost + "/" + url.PathEscape(v.Text("queueName")), nil
	}
	return fmt.Sprintf("%s/api/queues/%s?page=1&use_regex=true&pagination=false&name=%s&page_size=%d", base, vhost, queue, v.Int("pageSize")), nil
}

func (s rabbitSettings) parseQueues(body []byte) ([]managedQueue, error) {
	if !s.values.Bool("useRegex") {
		var queue managedQueue
		err := json.Unmarshal(body, &queue)
		return []managedQueue{queue}, err
	}
	var page struct {
		Items []managedQueue `json:"items"`
		Pages int            `json:"page_count"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, err
	}
	if page.Pages > 1 {
		return nil, errors.New(`the expression matches more queues than one page holds; raise "pageSize"`)
	}
	return page.Items, nil
}

// combine adds queues up, or takes their average or largest.
func (s rabbitSettings) combine(queues []managedQueue) rabbitQueue {
	var sum, most rabbitQueue
	for _, q := range queues {
		messages := q.Messages
		if s.values.Bool("excludeUnacknowledged") {
			messages = q.Ready
		}
		sum.messages, most.messages = sum.messages+messages, max(most.messages, messages)
		sum.published, most.published = sum.published+q.Stats.Publish.Rate, max(most.published, q.Stats.Publish.Rate)
		sum.delivered, most.delivered = sum.delivered+q.Stats.Deliver.Rate, max(most.delivered, q.Stats.Deliver.Rate)
	}
	switch n := float64(len(queues)); {
	case n > 1 && s.values.Text("operation") == "avg":
		return rabbitQueue{float64(int64(sum.messages / n)), sum.published / n, sum.delivered / n}
	case s.values.Text("operation") == "max":
		return most
	}
	return sum
}
