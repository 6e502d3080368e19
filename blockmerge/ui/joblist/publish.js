// The dialog in which a result is published. It is built when the Hub has answered, and stays as it is while a person fills it in.
const LICENCES = ["apache-2.0", "mit", "llama3.1", "llama3.2", "gemma", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "other"];
const choice = (entries, chosen) => {
  const node = make("select", "btn");
  for (const [value, label] of entries) node.append(set(make("option", "", label), { value, selected: value === chosen }));
  return node;
};
const suggesting = (input, values) => {
  const id = `bm-${Math.random().toString(36).slice(2)}`;
  const list = set(make("datalist"), { id });
  list.append(...[...new Set(values)].map((value) => set(make("option"), { value })));
  return [set(input, { list: id }), list];
};
const textbox = (value, more = {}) => set(make("input"), { type: "text", value, autocomplete: "off", spellcheck: "false", ...more });

// Who publishes: a name, or the field for a token
const signing = (known, offer) => {
  const tell = (what, more = {}) => trigger("ask", { do: what, job: known.card.id, ...more });
  if (offer.account) {
    const name = plain("span", "", say("publish.signed_in", { name: offer.account }));
    if (!offer.own_token) return make("div", "row", name);
    const leave = button(say("publish.sign_out"), "sign-out", "", "btn bare");
    leave.addEventListener("click", () => tell("sign_out"));
    return make("div", "row", name, leave);
  }
  const token = set(make("input"), { type: "password", autocomplete: "off", maxlength: 300 });
  const enter = button(say("publish.sign_in"), "sign-in");
  const send = () => { tell("sign_in", { token: token.value }); token.value = ""; };
  enter.addEventListener("click", send);
  token.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); send(); } });
  // In a tab of its own: what stands in this one stays, and the dialog knows them when it is opened again
  const there = set(make("a", "btn", say("publish.there")), { href: offer.address.slice(1), target: "_blank", rel: "noopener" });
  return make("div", "sign-in", ...(offer.address ? [make("div", "row", there)] : []), field(say("publish.token"), token), make("p", "hint left", say("publish.token_help")), make("div", "row", enter));
};
const publishForm = (known, offer, leave) => {
  const { id } = known.card;
  const held = offer.parents.map(([name, licence]) => say("publish.licence_of", { name, licence })).join("; ");
  const repository = textbox(offer.repository, { maxlength: 200, required: true });
  const licence = textbox(offer.licence, { maxlength: 64 });
  const seen = choice([["private", say("publish.private")], ["public", say("publish.public")]], offer.public ? "public" : "private");
  const way = choice([["commit", say("publish.commit")], ["pull", say("publish.pull_request")]], offer.pull_request ? "pull" : "commit");
  const card = set(make("textarea", "", offer.edited), { rows: 16, spellcheck: "false" });
  const anew = button(say("publish.card_anew"), "card-anew", "", "btn bare");
  const remark = set(make("p", "hint left"), { role: "status" });
  const form = make("form", "publish",
    field(say("publish.repository"), make("span", "", ...suggesting(repository, offer.places))),
    make("div", "row", field(say("publish.seen"), seen), field(say("publish.way"), way)),
    field(say("publish.licence"), make("span", "", ...suggesting(licence, [...offer.parents.map(([, text]) => text), ...LICENCES].filter((text) => text !== say("publish.licence_unknown"))))),
    make("p", "hint left", say("publish.licence_help", { held })),
    make("details", "", make("summary", "", say("publish.card")), make("p", "hint left", say("publish.card_help")), set(card, { "aria-label": say("publish.card") }), anew), remark,
    make("div", "row", set(button(say("publish.do"), "publish-do", "", "btn primary"), { type: "submit" }), leave()));
  let edited = Boolean(offer.edited);
  const preview = () => { if (!edited) trigger("ask", { do: "card", job: id, repository: repository.value, licence: licence.value }); };
  card.addEventListener("input", () => { edited = true; });
  anew.addEventListener("click", () => { edited = false; preview(); });
  for (const input of [repository, licence]) input.addEventListener("change", preview);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    trigger("ask", { do: "publish", job: id, repository: repository.value, licence: licence.value, card: edited ? card.value : "", public: seen.value === "public", pull_request: way.value === "pull" });
  });
  preview();
  const show = (written) => {
    if (!written || edited) return;
    remark.textContent = written.problem;
    if (card.value !== written.text) card.value = written.text;
  };
  return { form, show };
};
// `known.dialog` is what is shown, and what it was made from
const showOffer = (known, offer, close) => {
  const { card, ...made } = offer;
  const json = JSON.stringify(made);
  if (known.dialog?.json === json) return known.dialog.show(card);
  const leave = () => {
    const node = button(say("publish.leave"), "no", "", "btn bare");
    node.addEventListener("click", close);
    return node;
  };
  const children = [make("h3", "", say("publish.title"))];
  let show = () => {};
  if (offer.asking) children.push(set(make("p", "", say("publish.asking")), { role: "status" }), make("div", "row", leave()));
  else {
    if (offer.problem) children.push(set(plain("p", "said bad", offer.problem), { role: "alert" }));
    if (offer.reads_only) children.push(make("p", "said bad", say("publish.reads_only")));
    children.push(signing(known, offer));
    if (offer.problem) {
      const again = button(say("publish.try_again"), "ask-again");
      again.addEventListener("click", () => trigger("ask", { do: "offer", job: known.card.id }));
      children.push(make("div", "row", again, leave()));
    } else if (offer.account) {
      const built = publishForm(known, offer, leave);
      show = built.show;
      children.push(built.form);
    } else children.push(make("div", "row", leave()));
  }
  known.dialog = { json, show };
  known.slot.replaceChildren(make("div", "change", ...children));
  known.slot.querySelector("input, button")?.focus({ preventScroll: true });
  show(card);
};
