package platform

import (
	"context"
	"net/url"

	"github.com/escale-dev/escale/internal/engine/control"
)

// view answers a question about a running platform, for its command line; the answer is encoded as JSON.
type view func(ctx context.Context, query url.Values) (any, error)

// View is what the platform shows under a name.
func (p *Platform) View(ctx context.Context, name string, query url.Values) (any, error) {
	v, ok := p.views[name]
	if !ok {
		return nil, control.ErrNoView
	}
	return v(ctx, query)
}
