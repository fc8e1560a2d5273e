// Everything works without this file; with it, adding keeps your place on the page and an order's page moves by itself.
for (const form of document.querySelectorAll("form.buy")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const body = new URLSearchParams(new FormData(form));
      const answer = await fetch(form.action, { method: "POST", headers: { Accept: "text/plain" }, body });
      if (!answer.ok) throw new Error(answer.status);
      document.getElementById("count").textContent = await answer.text();
      button.textContent = "Added";
    } catch {
      button.textContent = "Try again";
    }
    button.disabled = false;
    setTimeout(() => (button.textContent = "Add"), 1500);
  });
}

const voyage = document.querySelector(".voyage");
const words = {
  paid: "Your order is with our packers.",
  packed: "Packed, labelled and on the quay.",
  shipped: "On its way to you. Fair winds.",
};
function move(state) {
  voyage.dataset.state = state;
  voyage.querySelector(".now").textContent = words[state];
}
if (voyage) {
  move(voyage.dataset.state);
  if (voyage.dataset.state !== "shipped") {
    const events = new EventSource(`/orders/${voyage.dataset.order}/events`);
    events.onmessage = (event) => {
      move(event.data);
      if (event.data === "shipped") events.close();
    };
  }
}
