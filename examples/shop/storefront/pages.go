package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/escale-dev/escale/examples/shop/internal/order"
)

//go:embed assets/style.css assets/shop.js
var assets embed.FS

//go:embed assets/*.html assets/*.svg
var sources embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"euro": func(cents int64) string { return fmt.Sprintf("€ %d.%02d", cents/100, cents%100) },
	// A chart's picture is a piece of the sea: "chart 480 20" begins there.
	"piece": func(art string) string {
		if at, ok := strings.CutPrefix(art, "chart "); ok {
			return at + " 200 150"
		}
		return ""
	},
}).ParseFS(sources, "assets/*"))

// page is what every page shows, and what it is about.
type page struct {
	Title string
	Query string
	Count int64 // things in the basket
	Data  any
}

func show(w http.ResponseWriter, code int, name string, p page) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(code)
	if err := pages.ExecuteTemplate(w, name, p); err != nil {
		slog.Warn("page not written", "page", name, "error", err)
	}
}

// sorry is the page for what went wrong on our side.
func sorry(w http.ResponseWriter, err error) {
	slog.Warn("page failed", "error", err)
	w.Header().Set("Retry-After", "2")
	show(w, http.StatusServiceUnavailable, "message.html", page{Title: "Becalmed", Data: "Part of the shop does not answer just now. Nothing you did is lost; please try again in a moment."})
}

// index is the shop: what the search found, or everything.
func (f storefront) index(w http.ResponseWriter, r *http.Request) {
	q, category := r.FormValue("q"), r.FormValue("category")
	found, err := f.find(r.Context(), url.Values{"q": {q}, "category": {category}})
	if err != nil {
		sorry(w, err)
		return
	}
	title := "Charts and gear for small boats"
	if q != "" {
		title = q
	}
	show(w, http.StatusOK, "index.html", page{title, q, f.count(r.Context(), visitor(w, r)), struct {
		Found
		Category string
	}{found, category}})
}

// checkoutPage is the basket, the form to pay, and what was wrong with it the last time.
type checkoutPage struct {
	Basket
	Name, Harbour, Problem string
}

func (f storefront) basketPage(w http.ResponseWriter, r *http.Request) {
	f.showBasket(w, r, http.StatusOK, checkoutPage{})
}

func (f storefront) showBasket(w http.ResponseWriter, r *http.Request, code int, c checkoutPage) {
	b, err := f.basket(r.Context(), visitor(w, r))
	if err != nil {
		sorry(w, err)
		return
	}
	c.Basket = b
	show(w, code, "basket.html", page{"Your basket", "", b.Count, c})
}

// change takes the forms that add to a basket. The script asks for the new count alone.
func (f storefront) change(w http.ResponseWriter, r *http.Request) {
	n := int64(1)
	if s := r.FormValue("quantity"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			n = 0
		}
	}
	who := visitor(w, r)
	err := f.add(r.Context(), who, r.FormValue("id"), n)
	switch {
	case errors.Is(err, errUnknown):
		show(w, http.StatusNotFound, "message.html", page{Title: "Not aboard", Data: "We do not have that."})
	case err != nil:
		sorry(w, err)
	case r.Header.Get("Accept") == "text/plain":
		fmt.Fprint(w, f.count(r.Context(), who))
	default:
		http.Redirect(w, r, "/basket", http.StatusSeeOther)
	}
}

// checkout pays for the basket. Paying twice for one basket, by a double click or a retry, is one order.
func (f storefront) checkout(w http.ResponseWriter, r *http.Request) {
	ctx, who := r.Context(), visitor(w, r)
	items, key, err := f.items(ctx, who)
	if err != nil {
		sorry(w, err)
		return
	}
	last := "basket:" + who + ":last"
	if len(items) == 0 { // paid a moment ago
		id, err := f.Redis.Get(ctx, last).Result()
		if err != nil {
			http.Redirect(w, r, "/basket", http.StatusSeeOther)
			return
		}
		http.Redirect(w, r, "/orders/"+id, http.StatusSeeOther)
		return
	}
	c := checkoutPage{Name: r.FormValue("name"), Harbour: r.FormValue("harbour")}
	o, problem, err := f.pay(ctx, key, items, c, r.FormValue("card"))
	if err != nil {
		sorry(w, err)
		return
	}
	if problem != "" {
		c.Problem = problem
		f.showBasket(w, r, http.StatusPaymentRequired, c)
		return
	}
	pipe := f.Redis.TxPipeline()
	pipe.Set(ctx, last, o.ID, keep)
	pipe.Del(ctx, "basket:"+who)
	if _, err := pipe.Exec(ctx); err != nil {
		slog.Warn("basket not emptied", "error", err) // the order stands; paying again finds it
	}
	http.Redirect(w, r, "/orders/"+o.ID, http.StatusSeeOther)
}

// pay asks payment, and returns the order or what the customer can do about the card.
func (f storefront) pay(ctx context.Context, key string, items map[string]int64, c checkoutPage, card string) (o order.Order, problem string, err error) {
	body, err := json.Marshal(map[string]any{"key": key, "card": card, "name": c.Name, "harbour": c.Harbour, "items": items})
	if err != nil {
		return o, "", err
	}
	var answer struct {
		order.Order
		Error string
	}
	code, err := f.ask(ctx, http.MethodPost, f.payment+"/api/payments", body, &answer)
	switch {
	case err != nil:
		return o, "", err
	case code >= http.StatusInternalServerError:
		return o, "", fmt.Errorf("payment answered %d: %s", code, answer.Error)
	case code >= http.StatusBadRequest:
		return o, answer.Error, nil
	}
	return answer.Order, "", nil
}

// order shows an order. Its address is the secret that a customer has.
func (f storefront) order(w http.ResponseWriter, r *http.Request) {
	o, err := order.Load(r.Context(), f.Redis, r.PathValue("id"))
	if errors.Is(err, order.ErrNotFound) {
		show(w, http.StatusNotFound, "message.html", page{Title: "No such order", Data: "Check the address: it is the only key to an order."})
		return
	}
	if err != nil {
		sorry(w, err)
		return
	}
	show(w, http.StatusOK, "order.html", page{"Your order", "", f.count(r.Context(), visitor(w, r)), o})
}

// events sends the order's state as it changes, until it is shipped or the service stops; a browser then asks again,
// and another replica goes on.
func (f storefront) events(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(f.Stopping, cancel)()
	out := http.NewResponseController(w)
	err := order.Watch(ctx, f.Redis, r.PathValue("id"), func(state string) bool {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprintf(w, "retry: 500\ndata: %s\n\n", state)
		return out.Flush() == nil && state != order.Shipped
	})
	if errors.Is(err, order.ErrNotFound) {
		http.NotFound(w, r)
	} else if err != nil {
		slog.Warn("order not watched", "error", err)
	}
}
