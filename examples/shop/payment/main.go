// Payment charges a card, writes the order and queues it for dispatch. It asks the catalog for prices, because what a
// customer sends is no price.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/escale-dev/escale/examples/shop/internal/order"
	"github.com/escale-dev/escale/examples/shop/internal/service"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// declinedCard is the test card that is always declined; every other valid number pays.
const declinedCard = "4000000000000002"

var payments = promauto.NewCounterVec(prometheus.CounterOpts{
	Name: "shop_payments_total", Help: "Payments, by result.",
}, []string{"result"})

type payment struct {
	*service.Service
	catalog string
	client  *http.Client
}

func main() {
	service.Main("payment", func(s *service.Service) {
		p := payment{s, service.Env("CATALOG", "http://catalog:8080"), &http.Client{Timeout: 2 * time.Second}}
		s.Mux.HandleFunc("POST /api/payments", p.pay)
		s.Mux.HandleFunc("GET /api/payments/{id}", p.show)
		s.Health("/api/payments/healthz")
	})
}

// request is a payment. Sending it again with the same key and items does not charge again.
type request struct {
	Key     string           `json:"key"`
	Card    string           `json:"card"`
	Name    string           `json:"name"`
	Harbour string           `json:"harbour"`
	Items   map[string]int64 `json:"items"` // product id to quantity
}

func (p payment) pay(w http.ResponseWriter, r *http.Request) {
	var req request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		service.Fail(w, http.StatusBadRequest, "want a payment as JSON: "+err.Error())
		return
	}
	card := strings.Join(strings.Fields(req.Card), "")
	if problem := req.check(card); problem != "" {
		payments.WithLabelValues("invalid").Inc()
		service.Fail(w, http.StatusBadRequest, problem)
		return
	}
	if card == declinedCard {
		payments.WithLabelValues("declined").Inc()
		service.Fail(w, http.StatusPaymentRequired, "The card was declined. Please try another one.")
		return
	}
	o, err := p.priced(r.Context(), req)
	if err != nil {
		service.Fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	if len(o.Lines) != len(req.Items) {
		service.Fail(w, http.StatusBadRequest, "A product in the basket is no longer sold.")
		return
	}
	o.Card = card[len(card)-4:]
	created, err := order.Place(r.Context(), p.Redis, o)
	if err != nil {
		service.Fail(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	code := http.StatusOK
	if created {
		code = http.StatusCreated
		payments.WithLabelValues("paid").Inc()
	}
	service.JSON(w, code, o)
}

// check tells the customer what is wrong with a payment, before anyone is asked.
func (req request) check(card string) (problem string) {
	switch {
	case req.Key == "" || len(req.Items) == 0 || len(req.Items) > 50:
		return "A payment needs a key and 1 to 50 items."
	case strings.TrimSpace(req.Name) == "" || len(req.Name) > 100 || strings.TrimSpace(req.Harbour) == "" || len(req.Harbour) > 100:
		return "Please give a name and a harbour, up to 100 characters each."
	case !luhn(card):
		return "This is no card number: a digit may be wrong."
	}
	for id, n := range req.Items {
		if n < 1 || n > 99 {
			return fmt.Sprintf("You can buy 1 to 99 of %q, not %d.", id, n)
		}
	}
	return ""
}

// luhn is the check digit of card numbers, ISO/IEC 7812-1 annex B.
func luhn(card string) bool {
	sum := 0
	for i := range len(card) {
		d := int(card[len(card)-1-i] - '0')
		if d < 0 || d > 9 {
			return false
		}
		if i%2 == 1 {
			d = d*2/10 + d*2%10
		}
		sum += d
	}
	return len(card) >= 12 && len(card) <= 19 && sum%10 == 0
}

// priced is the order at today's prices. Its id follows from the key and the items, so that a payment sent again finds
// the order it already is.
func (p payment) priced(ctx context.Context, req request) (order.Order, error) {
	ids := slices.Sorted(maps.Keys(req.Items))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.catalog+"/api/catalog?ids="+url.QueryEscape(strings.Join(ids, ",")), nil)
	if err != nil {
		return order.Order{}, err
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return order.Order{}, fmt.Errorf("asking for prices: %w", err)
	}
	defer resp.Body.Close()
	var found struct {
		Products []order.Line `json:"products"`
	}
	if resp.StatusCode != http.StatusOK {
		return order.Order{}, fmt.Errorf("asking for prices: %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		return order.Order{}, fmt.Errorf("asking for prices: %w", err)
	}
	o := order.Order{State: order.Paid, Name: req.Name, Harbour: req.Harbour, Paid: time.Now().UTC()}
	hash := sha256.New()
	fmt.Fprintf(hash, "%q", req.Key)
	for _, l := range found.Products {
		l.Quantity = req.Items[l.ID]
		fmt.Fprintf(hash, " %q %d", l.ID, l.Quantity)
		o.Lines, o.Total = append(o.Lines, l), o.Total+l.Price*l.Quantity
	}
	o.ID = strings.ToLower(base32.StdEncoding.EncodeToString(hash.Sum(nil))[:16])
	return o, nil
}

func (p payment) show(w http.ResponseWriter, r *http.Request) {
	o, err := order.Load(r.Context(), p.Redis, r.PathValue("id"))
	if errors.Is(err, order.ErrNotFound) {
		service.Fail(w, http.StatusNotFound, err.Error())
	} else if err != nil {
		service.Fail(w, http.StatusServiceUnavailable, err.Error())
	} else {
		service.JSON(w, http.StatusOK, o)
	}
}
