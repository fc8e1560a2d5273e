package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/escale-dev/escale/examples/shop/internal/service"
)

const (
	keep    = 7 * 24 * time.Hour // how long a basket is kept after its last change
	maxEach = 99
)

var errUnknown = errors.New("there is no such product")

// Line is a product in a basket.
type Line struct {
	Product
	Quantity int64 `json:"quantity"`
	Sum      int64 `json:"sum"`
}

// Basket is what one visitor wants to buy.
type Basket struct {
	Lines []Line `json:"lines"`
	Count int64  `json:"count"`
	Total int64  `json:"total"`
}

// visitor is the name of the visitor's basket, from a cookie that is made at the first need.
func visitor(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie("basket"); err == nil && len(c.Value) == 26 {
		return c.Value
	}
	id := rand.Text()
	http.SetCookie(w, &http.Cookie{Name: "basket", Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(keep.Seconds())})
	return id
}

// keyField names the basket's key among its products. It is as old as the basket, so that whoever pays for the same
// basket, however often, sends the same one.
const keyField = "#key"

// items is what the basket holds, product id to quantity, and its key.
func (f storefront) items(ctx context.Context, visitor string) (items map[string]int64, key string, err error) {
	fields, err := f.Redis.HGetAll(ctx, "basket:"+visitor).Result()
	if err != nil {
		return nil, "", fmt.Errorf("reading the basket: %w", err)
	}
	key = fields[keyField]
	delete(fields, keyField)
	items = map[string]int64{}
	for id, n := range fields {
		items[id], _ = strconv.ParseInt(n, 10, 64)
	}
	return items, key, nil
}

// basket is the basket at today's prices.
func (f storefront) basket(ctx context.Context, visitor string) (Basket, error) {
	items, _, err := f.items(ctx, visitor)
	if err != nil || len(items) == 0 {
		return Basket{}, err
	}
	found, err := f.find(ctx, url.Values{"ids": {strings.Join(slices.Sorted(maps.Keys(items)), ",")}})
	if err != nil {
		return Basket{}, err
	}
	var b Basket
	for _, p := range found.Products {
		n := items[p.ID]
		b.Lines = append(b.Lines, Line{p, n, n * p.Price})
		b.Count, b.Total = b.Count+n, b.Total+n*p.Price
	}
	return b, nil
}

// count is how many things are in the basket; where the database does not answer, the page is shown without.
func (f storefront) count(ctx context.Context, visitor string) (n int64) {
	items, _, _ := f.items(ctx, visitor)
	for _, q := range items {
		n += q
	}
	return n
}

// add changes the quantity of a product; nothing is left of one that reaches 0.
func (f storefront) add(ctx context.Context, visitor, id string, n int64) error {
	found, err := f.find(ctx, url.Values{"ids": {id}})
	if err != nil {
		return err
	}
	if len(found.Products) == 0 || n < -maxEach || n > maxEach {
		return errUnknown
	}
	key := "basket:" + visitor
	if err := f.Redis.HSetNX(ctx, key, keyField, rand.Text()).Err(); err != nil {
		return fmt.Errorf("changing the basket: %w", err)
	}
	now, err := f.Redis.HIncrBy(ctx, key, id, n).Result()
	switch {
	case err != nil:
	case now <= 0:
		err = f.Redis.HDel(ctx, key, id).Err()
	case now > maxEach:
		err = f.Redis.HSet(ctx, key, id, maxEach).Err()
	}
	if err == nil {
		err = f.Redis.Expire(ctx, key, keep).Err()
	}
	if err != nil {
		return fmt.Errorf("changing the basket: %w", err)
	}
	return nil
}

// basketAPI shows the basket as JSON, after adding to it when the request is a POST.
func (f storefront) basketAPI(w http.ResponseWriter, r *http.Request) {
	who := visitor(w, r)
	if r.Method == http.MethodPost {
		in := struct {
			ID       string
			Quantity int64
		}{Quantity: 1}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			service.Fail(w, http.StatusBadRequest, `want JSON such as {"id":"lifebuoy","quantity":1}: `+err.Error())
			return
		}
		if err := f.add(r.Context(), who, in.ID, in.Quantity); err != nil {
			service.Fail(w, statusOf(err), err.Error())
			return
		}
	}
	b, err := f.basket(r.Context(), who)
	if err != nil {
		service.Fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	service.JSON(w, http.StatusOK, b)
}

func statusOf(err error) int {
	if errors.Is(err, errUnknown) {
		return http.StatusNotFound
	}
	return http.StatusServiceUnavailable
}
