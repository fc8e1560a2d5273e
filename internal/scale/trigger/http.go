package trigger

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/escale-dev/escale/internal/scale/trigger/schema"
)

// maxBody bounds what is read of an answer.
const maxBody = 8 << 20

// web asks an HTTP server, with the authentication that KEDA's authModes describe.
type web struct {
	client    *http.Client
	transport *http.Transport
	auth      webAuth
}

// webAuth is what KEDA calls the authentication config: which modes are on, and their parameters.
type webAuth struct {
	modes  []string
	values schema.Values
}

// newWebAuth reads the modes and checks that each has what it needs. Other modes than the allowed are refused; none
// given means that every mode may be used.
func newWebAuth(v schema.Values, modes []string, allowed ...string) (webAuth, error) {
	a := webAuth{modes: modes, values: v}
	needs := map[string][]string{
		"bearer": {"bearerToken"}, "basic": {"username"}, "tls": {"cert", "key"}, "oauth": {"oauthTokenURI", "clientID"},
		"custom": {"customAuthHeader", "customAuthValue"}, "apiKey": {"apiKey"},
	}
	for _, mode := range modes {
		if len(allowed) > 0 && !slices.Contains(allowed, mode) {
			return a, fmt.Errorf("authModes holds %q; this type supports %s", mode, strings.Join(allowed, ", "))
		}
		for _, name := range needs[mode] {
			if v.Text(name) == "" {
				return a, fmt.Errorf("%q is missing: authModes %q needs it in the TriggerAuthentication", name, mode)
			}
		}
	}
	return a, nil
}

func (a webAuth) on(mode string) bool { return slices.Contains(a.modes, mode) }

// newWeb makes a client with a few kept connections.
func newWeb(d *Dialer, a webAuth, config *tls.Config, limit time.Duration) *web {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext, TLSClientConfig: config, ForceAttemptHTTP2: true,
		MaxIdleConns: 4, MaxIdleConnsPerHost: 2, MaxConnsPerHost: 8, IdleConnTimeout: time.Minute,
	}
	w := &web{client: &http.Client{Transport: transport}, transport: transport, auth: a}
	if a.on("oauth") {
		w.client.Transport = &oauth2.Transport{Base: transport, Source: a.tokens(&http.Client{Transport: transport, Timeout: limit})}
	}
	return w
}

// tokens gets tokens by the client credentials flow; a token is kept until it expires.
func (a webAuth) tokens(client *http.Client) oauth2.TokenSource {
	config := clientcredentials.Config{
		ClientID: a.values.Text("clientID"), ClientSecret: a.values.Text("clientSecret"), TokenURL: a.values.Text("oauthTokenURI"),
		Scopes: a.values.List("scopes"), EndpointParams: a.values.Query("endpointParams"),
	}
	if config.ClientSecret == "" {
		config.AuthStyle = oauth2.AuthStyleInParams
	}
	return config.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, client))
}

// get reads an address. An answer other than 2xx is an error that names the status, never the body: bodies of strangers
// may hold anything.
func (w *web) get(ctx context.Context, address string, change func(*http.Request)) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the address is no URL; write it as http://host:port/path")
	}
	w.auth.apply(request)
	if change != nil {
		change(request)
	}
	answer, err := w.client.Do(request)
	if err != nil {
		return nil, plainly(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("the answer is longer than %d MiB", maxBody>>20)
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return nil, &statusError{host: request.URL.Host, path: request.URL.Path, code: answer.StatusCode}
	}
	return body, nil
}

// statusError is an answer that is no success.
type statusError struct {
	host, path string
	code       int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answered %d %s for %s", e.host, e.code, http.StatusText(e.code), e.path)
}

// plainly leaves the address out of an error: its query or user may be secret.
func plainly(err error) error {
	var about *url.Error
	for errors.As(err, &about) {
		err = about.Err
	}
	return err
}

func (a webAuth) apply(request *http.Request) {
	v := a.values
	switch {
	case a.on("bearer"):
		request.Header.Set("Authorization", "Bearer "+v.Text("bearerToken"))
	case a.on("basic"):
		request.SetBasicAuth(v.Text("username"), v.Text("password"))
	case a.on("custom"):
		request.Header.Set(v.Text("customAuthHeader"), v.Text("customAuthValue"))
	}
	if a.on("apiKey") {
		a.applyKey(request)
	}
}

func (a webAuth) applyKey(request *http.Request) {
	v := a.values
	if v.Text("method") != "query" {
		request.Header.Set(cmp.Or(v.Text("keyParamName"), "X-API-KEY"), v.Text("apiKey"))
		return
	}
	query := request.URL.Query()
	query.Set(cmp.Or(v.Text("keyParamName"), "api_key"), v.Text("apiKey"))
	request.URL.RawQuery = query.Encode()
}

func (w *web) close() error {
	w.transport.CloseIdleConnections()
	return nil
}
