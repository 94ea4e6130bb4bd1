// The approval card: what is shown comes escaped from the kernel; what is typed is checked here and again there.
const STYLE = `
.runbook-card{box-sizing:border-box;max-width:760px;margin:4px 0;padding:12px 16px;border:2px solid #8a4b00;border-radius:6px;
background:#fff;color:#1a1a1a;font:14px/1.45 system-ui,sans-serif}
.runbook-card h3{margin:0 0 6px;font-size:16px;color:#1a1a1a}
.runbook-card pre{overflow:auto;max-height:220px;background:#f4f4f4;color:#1a1a1a;padding:6px 8px;font-size:12px}
.runbook-card table{color:#1a1a1a;background:#fff}
.runbook-card tr{background:#fff !important}
.runbook-card img{max-width:100%;height:auto;border:1px solid #ddd}
.runbook-card label{display:block;margin:10px 0 4px}
.runbook-card code{background:#f4f4f4;color:#1a1a1a;padding:0 3px}
.runbook-card input{font:14px monospace;padding:5px 8px;border:1px solid #595959;border-radius:3px;background:#fff;
color:#1a1a1a;min-width:16em}
.runbook-card button{font:600 14px system-ui,sans-serif;padding:6px 14px;margin:0 0 0 8px;border-radius:3px;border:1px solid #595959;
background:#fff;color:#1a1a1a;cursor:pointer}
.runbook-card button.approve{background:#00588c;border-color:#00588c;color:#fff}
.runbook-card button.approve:disabled{background:#e8e8e8;border-color:#8c8c8c;color:#595959;cursor:not-allowed}
.runbook-card :focus-visible{outline:3px solid #0072B2;outline-offset:2px}
.runbook-card .status{margin-top:6px;min-height:1.4em}
`;

function element(name, attributes, text) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

function remaining(until) {
  const seconds = Math.max(0, Math.round((until - Date.now()) / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function render({ model, el }) {
  const name = model.get("service");
  const id = "runbook-" + Math.random().toString(36).slice(2);
  const card = element("section", { class: "runbook-card", "aria-labelledby": id });
  card.append(element("style", {}, STYLE));
  card.append(element("h3", { id, role: "heading", "aria-level": "3" }, "Approve exactly this plan?"));
  const plan = element("div");
  plan.innerHTML = model.get("plan_html");
  // A long diff or command scrolls; whoever has no mouse must be able to scroll it too.
  for (const pre of plan.querySelectorAll("pre")) { pre.tabIndex = 0; pre.setAttribute("role", "region"); pre.setAttribute("aria-label", "diff"); }
  const picture = element("img", { alt: model.get("sentence") || "no number is watched" });
  const clock = element("div", { class: "clock" });
  const typed = element("input", { id: id + "-name", type: "text", autocomplete: "off", spellcheck: "false" });
  const label = element("label", { for: id + "-name" });
  label.append("Type the name of the service, ", element("code", {}, name), ", to approve:");
  const approve = element("button", { type: "button", class: "approve", disabled: "" }, "Approve and go on");
  const decline = element("button", { type: "button", class: "decline" }, "Decline");
  const status = element("div", { class: "status", role: "status", "aria-live": "polite" });
  const row = element("div");
  row.append(typed, approve, decline);
  card.append(plan, picture, clock, label, row, status);
  el.append(card);

  const matches = () => typed.value === name;
  const check = () => {
    approve.disabled = !matches();
    status.textContent = typed.value === "" ? "" : matches() ? "The name is right: Approve is ready." : "This is not the service's name.";
  };
  const draw = () => {
    picture.hidden = !model.get("picture");
    picture.src = model.get("picture") || "data:,";
    picture.alt = model.get("sentence") || "no number is watched";
  };
  const send = (approved) => {
    for (const one of [typed, approve, decline]) one.disabled = true;
    status.textContent = approved ? "Approved; the plan is applied by the next cell." : "Declined.";
    model.send({ kind: "decision", approved, typed: typed.value, plan: model.get("digest") });
  };
  const tick = () => {
    clock.textContent = `The question stands for ${remaining(model.get("until_ms"))} more; an unanswered one is declined.`;
  };
  typed.addEventListener("input", check);
  typed.addEventListener("keydown", (event) => {
    event.stopPropagation();  // the notebook's own shortcuts must not run while a name is typed
    if (event.key === "Enter" && matches()) send(true);
  });
  approve.addEventListener("click", () => { if (matches()) send(true); });
  decline.addEventListener("click", () => send(false));
  model.on("change:picture", draw);
  draw();
  tick();
  const timer = setInterval(tick, 1000);
  model.send({ kind: "ready" });
  return () => { clearInterval(timer); model.off("change:picture", draw); };
}

export default { render };
