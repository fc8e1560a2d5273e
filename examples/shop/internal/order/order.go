// Package order is how an order is kept in the database and moves: payment places it, dispatch advances it, the
// storefront shows it.
package order

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// The states of an order, in order.
const (
	Paid    = "paid"
	Packed  = "packed"
	Shipped = "shipped"
)

// Queue is the list of orders that wait to be packed.
const Queue = "dispatch:queue"

// shipped counts the orders that are done.
const shipped = "dispatch:shipped"

// ErrNotFound says that there is no such order.
var ErrNotFound = errors.New("no such order")

// Line is one product of an order, at the price it was sold for.
type Line struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Price    int64  `json:"price"` // in cents
	Quantity int64  `json:"quantity"`
}

// Order is what was bought. Of the card it keeps the last four digits.
type Order struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Name    string    `json:"name"`
	Harbour string    `json:"harbour"`
	Card    string    `json:"card"`
	Lines   []Line    `json:"lines"`
	Total   int64     `json:"total"` // in cents
	Paid    time.Time `json:"paid"`
}

// place writes the order and its job in one step, once: the database has both or neither.
var place = redis.NewScript(`
if redis.call('HSETNX', KEYS[1], 'order', ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[2])
redis.call('LPUSH', KEYS[2], ARGV[3])
return 1`)

func key(id string) string { return "order:" + id }

// Place keeps o and queues it, and tells whether it was new: the same order placed twice is one order.
func Place(ctx context.Context, db *redis.Client, o Order) (bool, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return false, err
	}
	n, err := place.Run(ctx, db, []string{key(o.ID), Queue}, b, Paid, o.ID).Int()
	if err != nil {
		return false, fmt.Errorf("placing order %q: %w", o.ID, err)
	}
	return n == 1, nil
}

// Load reads an order; ErrNotFound where there is none.
func Load(ctx context.Context, db *redis.Client, id string) (Order, error) {
	fields, err := db.HGetAll(ctx, key(id)).Result()
	if err != nil {
		return Order{}, fmt.Errorf("reading order %q: %w", id, err)
	}
	if len(fields) == 0 {
		return Order{}, fmt.Errorf("order %q: %w", id, ErrNotFound)
	}
	var o Order
	if err := json.Unmarshal([]byte(fields["order"]), &o); err != nil {
		return Order{}, fmt.Errorf("reading order %q: %w", id, err)
	}
	o.State = fields["state"]
	return o, nil
}

// advance moves an order that is still where it was seen, so that two workers with one job move it once.
var advance = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'state') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[2])
redis.call('PUBLISH', KEYS[1], ARGV[2])
if ARGV[2] == 'shipped' then redis.call('INCR', KEYS[2]) end
return 1`)

// Advance moves the order from one state to the next and tells everyone who watches it.
func Advance(ctx context.Context, db *redis.Client, id, from, to string) error {
	if err := advance.Run(ctx, db, []string{key(id), shipped}, from, to).Err(); err != nil {
		return fmt.Errorf("moving order %q to %q: %w", id, to, err)
	}
	return nil
}

// Watch calls report with the order's state now and after each change, until ctx ends or report returns false.
func Watch(ctx context.Context, db *redis.Client, id string, report func(state string) bool) error {
	sub := db.Subscribe(ctx, key(id))
	defer func() { _ = sub.Close() }()          // nothing is lost with it
	if _, err := sub.Receive(ctx); err != nil { // from here on no change is missed
		return fmt.Errorf("watching order %q: %w", id, err)
	}
	o, err := Load(ctx, db, id)
	if err != nil || !report(o.State) {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, ok := <-sub.Channel():
			if !ok || !report(m.Payload) {
				return nil
			}
		}
	}
}

// ShippedCount is how many orders are done.
func ShippedCount(ctx context.Context, db *redis.Client) (int64, error) {
	n, err := db.Get(ctx, shipped).Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return n, err
}
