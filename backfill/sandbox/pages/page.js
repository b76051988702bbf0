"use strict"
// Shows calls as they arrive. The page is whole without it: the server has made it, and makes what is added here.
const MOST_ROWS = 200
const live = document.querySelector("[data-live]")

function watch() {
  const list = document.querySelector("ol.calls")
  const [button, status] = [live.querySelector("button"), live.querySelector("[role=status]")]
  let source = null
  let seen = new URL(live.dataset.live, location.href).searchParams.get("after")
  let said = 0

  function show(event) {
    const told = JSON.parse(event.data)
    seen = event.lastEventId
    for (const [name, count] of Object.entries(told.counts)) {
      document.querySelector(`[data-count=${name}]`).textContent = count.toLocaleString("en-US")
    }
    if (!told.rows) return
    // Rows come from the same template as the page's own, every value of them escaped.
    list.insertAdjacentHTML("afterbegin", told.html)
    document.querySelector(".none")?.remove()
    for (const row of [...list.children].slice(MOST_ROWS)) {
      if (!row.contains(document.activeElement)) row.remove()
    }
    if (Date.now() - said > 2000) {
      said = Date.now()
      status.textContent = `Watching. Last calls shown at ${new Date().toISOString().slice(11, 19)}.`
    }
  }

  function open() {
    const address = new URL(live.dataset.live, location.href)
    address.searchParams.set("after", seen)
    source = new EventSource(address)
    source.onmessage = show
    source.onopen = () => { status.textContent = "Watching." }
    source.onerror = () => { status.textContent = "The sandbox does not answer; trying again." }
  }

  function turn() {
    const paused = source !== null
    if (paused) {
      source.close()
      source = null
      status.textContent = "Paused: calls are counted and kept, and shown when you go on."
    } else {
      open()
    }
    button.setAttribute("aria-pressed", String(paused))
    button.textContent = paused ? "Go on" : "Pause"
  }

  button.addEventListener("click", turn)
  addEventListener("pagehide", () => source?.close())
  live.hidden = false
  open()
}

if (live) watch()
