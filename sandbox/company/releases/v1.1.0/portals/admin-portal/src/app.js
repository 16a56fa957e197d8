const release = "__RELEASE__";
const sections = ["Users", "Wallets", "Transactions", "Agents", "Phone checks"];

document.querySelector("#app").replaceChildren(
  ...sections.map((name) => Object.assign(document.createElement("p"), { textContent: name })),
);
document.documentElement.dataset.release = release;
