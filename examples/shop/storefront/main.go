// Storefront is what customers see: the pages, and the basket behind them. It asks the catalog for products and payment
// for money, and shows orders as dispatch moves them.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/escale-dev/escale/examples/shop/internal/service"
)

type storefront struct {
	*service.Service
	catalog, payment string // addresses
	client           *http.Client
}

func main() {
	service.Main("storefront", func(s *service.Service) {
		f := storefront{s, service.Env("CATALOG", "http://catalog:8080"), service.Env("PAYMENT", "http://payment:8080"),
			&http.Client{Timeout: 3 * time.Second}}
		pages := http.NewServeMux()
		pages.HandleFunc("GET /{$}", f.index)
		pages.HandleFunc("GET /basket", f.basketPage)
		pages.HandleFunc("POST /basket", f.change)
		pages.HandleFunc("POST /checkout", f.checkout)
		pages.HandleFunc("GET /orders/{id}", f.order)
		pages.HandleFunc("GET /orders/{id}/events", f.events)
		pages.HandleFunc("GET /api/basket", f.basketAPI)
		pages.HandleFunc("POST /api/basket", f.basketAPI)
		pages.Handle("GET /assets/", cached(http.FileServerFS(assets)))
		// Forms of other sites change nobody's basket.
		s.Mux.Handle("/", http.NewCrossOriginProtection().Handler(pages))
		s.Health("/api/storefront/healthz")
	})
}

func cached(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=300")
		h.ServeHTTP(w, r)
	})
}

// Product as the catalog describes it. Price is in cents.
type Product struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Category string `json:"category"`
	Price    int64  `json:"price"`
	Art      string `json:"art"`
	Text     string `json:"text"`
}

// Found is an answer of the catalog to a search.
type Found struct {
	Query, Understood string
	Categories        []struct {
		Name  string
		Count int
	}
	Products []Product
}

// find asks the catalog.
func (f storefront) find(ctx context.Context, query url.Values) (Found, error) {
	var found Found
	code, err := f.ask(ctx, http.MethodGet, f.catalog+"/api/catalog?"+query.Encode(), nil, &found)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("the catalog answered %d", code)
	}
	return found, err
}

// ask sends a request and decodes the answer, whatever its status. It asks twice where there was no answer: whoever is
// asked answers the same question the same way.
func (f storefront) ask(ctx context.Context, method, address string, body []byte, answer any) (code int, err error) {
	for range 2 {
		if code, err = f.askOnce(ctx, method, address, body, answer); err == nil {
			return code, nil
		}
	}
	return code, err
}

func (f storefront) askOnce(ctx context.Context, method, address string, body []byte, answer any) (int, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	resp, err := f.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(answer); err != nil {
		return 0, fmt.Errorf("%s answered %s: %w", address, resp.Status, err)
	}
	return resp.StatusCode, nil
}
