const release = "__RELEASE__";
const cents = 125000;
const balance = new Intl.NumberFormat("en-KE", { style: "currency", currency: "KES" }).format(cents / 100);

document.querySelector("#app").textContent = `Your balance: ${balance}`;
document.documentElement.dataset.release = release;
