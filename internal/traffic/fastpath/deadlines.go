package fastpath

import "time"

// armExchange sets the timer to the end that comes first.
func (c *client) armExchange() {
	var when time.Time
	if c.x.Timeout > 0 {
		when = c.x.Started.Add(c.x.Timeout)
	}
	if c.x.BackendTimeout > 0 {
		if w := c.attempt.Add(c.x.BackendTimeout); when.IsZero() || w.Before(when) {
			when = w
		}
	}
	if c.state == exchanging && c.bodyLeft > 0 && !c.answered {
		if w := c.bodyDue(); when.IsZero() || w.Before(when) {
			when = w
		}
	}
	if len(c.unsent) > 0 {
		if w := c.stallDue(); when.IsZero() || w.Before(when) {
			when = w
		}
	}
	c.loop.timers.arm(&c.timer, when)
}

// stallDue is when the client has taken nothing for too long.
func (c *client) stallDue() time.Time { return c.stalled.Add(c.loop.server.stall) }

// bodyDue is when the body has come too slowly, unless more of it comes before.
func (c *client) bodyDue() time.Time {
	return c.x.Started.Add(SlowBodyGrace + time.Duration(c.length-c.bodyLeft)*time.Second/SlowBodyRate)
}

// expire implements expirer.
func (c *client) expire() {
	now := c.loop.now
	switch {
	case c.state == waiting || c.state == lingering:
		c.close()
	case len(c.unsent) > 0 && !now.Before(c.stallDue()):
		c.abort()
	case c.x.Timeout > 0 && !now.Before(c.x.Started.Add(c.x.Timeout)):
		c.fail(RequestTimeout, nil)
	case c.x.BackendTimeout > 0 && !now.Before(c.attempt.Add(c.x.BackendTimeout)):
		c.fail(BackendTimeout, nil)
	case c.state == exchanging && c.bodyLeft > 0 && !c.answered && !now.Before(c.bodyDue()):
		c.fail(RequestTooSlow, nil)
	default:
		c.armExchange()
	}
}
