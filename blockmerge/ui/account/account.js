// Who this person is on the Hub: a field for a token, which leaves it at once, or a way to sign out.
const root = element.querySelector(".account");
let value = null;

const show = () => {
  const answer = set(make("p", `answer ${value.wrong ? "bad" : ""}`, value.wrong || value.told), { role: value.wrong ? "alert" : "status" });
  const about = [make("h2", "", say("account.title")), plain("p", "help", value.help)];
  if (value.is_in) {
    const leave = button(say("account.sign_out"), "sign-out");
    leave.addEventListener("click", () => trigger("ask", { do: "sign_out" }));
    root.replaceChildren(...about, make("div", "row", leave));
    return;
  }
  const token = set(make("input"), { type: "password", autocomplete: "off", maxlength: 300, required: true, spellcheck: "false" });
  const form = make("form", "", field(say("account.token"), token), set(button(say("account.sign_in"), "sign-in"), { type: "submit" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    trigger("ask", { do: "sign_in", token: token.value });
    token.value = "";
  });
  // The Hub does not let itself be framed, and in a frame a browser keeps other cookies
  const isFramed = window.top !== window;
  const there = set(make("a", "btn primary", say("account.there")), { href: value.address.slice(1), ...(isFramed ? { target: "_blank", rel: "noopener" } : {}) });
  const ways = value.address ? [make("div", "row", there), ...(isFramed ? [make("p", "help", say("account.there_help"))] : [])] : [];
  root.replaceChildren(...about, ...ways, form, make("p", "help", say("account.token_help")), answer);
};
const load = () => {
  if (!props.value?.help) return;
  value = props.value;
  show();
  root.dataset.ready = "";
};
watch("value", load);
load();
