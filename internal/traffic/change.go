package traffic

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Changes are objects of which there are other versions than those a Compiled was made of.
type Changes struct {
	// Routes are their newest versions; nil for one that is gone.
	Routes map[objectRef]*routeObject
	// Services are their newest versions; nil for one that is gone. Routes has all that refer to them: see routesTo.
	Services map[types.NamespacedName]*corev1.Service
	// Namespaces are their newest versions; nil for one that is gone.
	Namespaces map[string]*corev1.Namespace
}

// dependsOn says whether a Secret or ConfigMap was looked for.
func (c *Compiled) dependsOn(r reference) bool { return c.consulted[r] }

// routesTo are the routes that refer to one of the Services.
func (c *Compiled) routesTo(services map[types.NamespacedName]bool) []objectRef {
	var list []objectRef
	for ref, r := range c.routes {
		if r.refersTo(services) {
			list = append(list, ref)
		}
	}
	return list
}

// apply compiles what changed. The result is that of Compile with the new facts. It returns false where a change
// reaches further than the routes themselves, and Compile has to be asked: when routes of two kinds want one host name,
// or a listener chooses namespaces by label.
func (c *Compiled) apply(ch Changes) bool {
	c.begin()
	if len(ch.Namespaces) > 0 && c.selecting {
		return false
	}
	for name, n := range ch.Namespaces {
		c.setNamespace(name, n)
	}
	for ref := range ch.Routes {
		if old := c.routes[ref]; old != nil {
			if old.disputed() {
				return false
			}
			c.removeRoute(ref, old)
		}
	}
	for name, service := range ch.Services {
		c.setService(name, service)
	}
	for _, object := range ch.Routes {
		if object == nil {
			continue
		}
		if added := c.addRoute(object); added.disputed() {
			return false
		}
	}
	c.Statuses = c.finish()
	c.addStatuses(&c.Statuses)
	return true
}
