package platform

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/escale-dev/escale/internal/engine"
	"github.com/escale-dev/escale/internal/engine/control"
	"github.com/escale-dev/escale/internal/engine/network/dns"
	"github.com/escale-dev/escale/internal/portal"
	"github.com/escale-dev/escale/internal/release"
	"github.com/escale-dev/escale/internal/scale"
	"github.com/escale-dev/escale/internal/scale/decision"
	"github.com/escale-dev/escale/internal/scale/hours"
	"github.com/escale-dev/escale/internal/scale/replay"
	"github.com/escale-dev/escale/internal/scale/trigger"
	"github.com/escale-dev/escale/internal/scale/waterfall"
	"github.com/escale-dev/escale/internal/signal"
	"github.com/escale-dev/escale/internal/traffic"
	"github.com/escale-dev/escale/internal/web"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// startCapabilities sets the capabilities up and starts them.
func (p *Platform) startCapabilities(ctx context.Context) error {
	ctrl.SetLogger(logr.FromSlogHandler(p.log.Handler()))
	admin := p.control.Admin()
	m, err := ctrl.NewManager(admin, manager.Options{
		Scheme: scheme,
		Cache:  cache.Options{DefaultTransform: cache.TransformStripManagedFields(), ByObject: traffic.Cached()},
		// What the platform measures is served by its own pages, and there is one platform per data directory.
		Metrics: metricsserver.Options{BindAddress: "0"},
		Logger:  logr.FromSlogHandler(p.log.Handler()),
	})
	if err != nil {
		return fmt.Errorf("making the controller manager: %w", err)
	}
	if p.web, err = web.New(web.Config{
		Listener: p.cfg.Listeners[PortPortal], Dir: p.cfg.Dir.Portal(), Version: p.cfg.Version, Log: p.log,
		LoginUsed: func(next string) { p.setPortal(next) },
	}); err != nil {
		return err
	}
	clientset, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := p.setup(ctx, m, clientset); err != nil {
		return err
	}
	p.setPortal(p.web.LoginURL())
	p.background("capabilities", m.Start)
	p.background("portal", p.web.Run)
	socket, err := control.Listen(p.cfg.Dir)
	if err != nil {
		return err
	}
	p.background("control socket", func(ctx context.Context) error { return control.Serve(ctx, socket, p) })
	return nil
}

// LoginURL is the portal's address with a new one-time token.
func (p *Platform) LoginURL() string { return p.web.LoginURL() }

// setPortal publishes the address that logs in once.
func (p *Platform) setPortal(login string) { p.update(func(s *engine.State) { s.PortalURL = login }) }

// systemNamespace is where the platform's own objects are, and what belongs to no application.
const systemNamespace = "escale-system"

// setup is the list of capabilities.
func (p *Platform) setup(ctx context.Context, m ctrl.Manager, clientset kubernetes.Interface) error {
	gatewayURL := "http://" + p.cfg.Listeners[PortGateway].Addr().String()
	var signals *signal.Store
	var scaleups *waterfall.Watcher
	var scaler *scale.Scaler
	for _, s := range []web.Section{{Title: "Overview", Path: "/"}, {Title: "Traffic", Path: "/traffic"}, {Title: "Scaling", Path: "/scaling"}, {Title: "Timeline", Path: "/timeline"}} {
		p.web.Section(s.Title, s.Path)
	}
	for _, c := range []struct {
		name  string
		setup func(log *slog.Logger) error
	}{
		{"release", func(log *slog.Logger) error {
			return release.Setup(release.Deps{Manager: m, Timeline: p.timeline, GatewayURL: func() string { return gatewayURL }})
		}},
		{"signals", func(log *slog.Logger) (err error) {
			signals, err = p.setupSignals(ctx, m, clientset, log)
			return err
		}},
		{"traffic", func(log *slog.Logger) error {
			_, err := traffic.Setup(traffic.Deps{
				Manager: m, Listener: p.cfg.Listeners[PortGateway], PrivateCookie: web.CookieName, Timeline: p.timeline,
				Network: gatewayNetwork{p.host, p.network}, Default: release.DefaultGateway,
				Signals: signals, Web: p.web, Log: log,
			})
			return err
		}},
		{"waterfall", func(*slog.Logger) (err error) {
			scaleups, err = waterfall.Setup(waterfall.Deps{Manager: m, Timeline: p.timeline, Signals: signals})
			return err
		}},
		{"scale", func(log *slog.Logger) (err error) {
			scaler, err = scale.Setup(scale.Deps{
				Manager: m, Kube: clientset, Signals: signals, Timeline: p.timeline, Scaleups: scaleups,
				Dialer:    trigger.NewDialer(netip.AddrPortFrom(p.network.Host(), 53), "cluster.local"),
				Namespace: systemNamespace, Web: p.web, Log: log,
			})
			return err
		}},
		{"office hours", func(*slog.Logger) error {
			return hours.Setup(hours.Deps{Manager: m, Timeline: p.timeline})
		}},
		{"portal", func(log *slog.Logger) error {
			return portal.Setup(ctx, portal.Deps{Manager: m, Kube: clientset, Timeline: p.timeline, Signals: signals, Web: p.web, Log: log})
		}},
	} {
		if err := c.setup(p.log.With("capability", c.name)); err != nil {
			return fmt.Errorf("setting up capability %q: %w", c.name, err)
		}
	}
	p.views = map[string]view{
		waterfall.ViewName: scaleups.View, decision.ViewName: scaler.ViewDecision, replay.ViewName: scaler.ViewSettings,
	}
	return nil
}

// clusterObjects are the objects the cluster holds from the start.
func (p *Platform) clusterObjects() ([]*unstructured.Unstructured, error) {
	objects, err := release.ClusterObjects(int32(p.cfg.Listeners[PortGateway].Addr().(*net.TCPAddr).Port))
	if err != nil {
		return nil, err
	}
	resolver, err := dns.Objects(p.network)
	if err != nil {
		return nil, err
	}
	return append(objects, resolver...), nil
}
