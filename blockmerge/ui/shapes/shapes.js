// Between the server and the tray of shapes, which is the Equaliser's.
const tell = () => document.dispatchEvent(new CustomEvent("blockmerge-shapes", { detail: props.value || null }));
document.addEventListener("blockmerge-shapes-ask", ({ detail }) => trigger("ask", detail));
document.addEventListener("blockmerge-shapes-wanted", tell);
watch("value", tell);
tell();
