//! Laws of starts that are not at B = 0.

use ggpo_lora::LoraGaConfig;
use ggpo_lora::adapter::lora;
use ggpo_lora::method::{InitConfig, METHODS};
use ggpo_lora::{AdapterKind, LoraConfig, MethodConfig};
use ggpo_tensor::random::{Purpose, Stream};
use proptest::prelude::*;

use super::*;

/// Methods by name with adapters of rank 2, and each start with DoRA.
fn methods() -> Vec<MethodConfig> {
    let starts = [
        InitConfig::Pissa,
        InitConfig::Olora,
        InitConfig::LoraGa(LoraGaConfig::default()),
    ];
    let on_dora = starts.map(|init| MethodConfig {
        adapter: AdapterKind::Dora,
        init,
        ..MethodConfig::default()
    });
    let named = METHODS.iter().map(|method| method.config());
    let mut methods: Vec<MethodConfig> = named.chain(on_dora).collect();
    methods.retain(MethodConfig::has_adapters);
    for method in &mut methods {
        let lora = method.lora.clone();
        method.lora = LoraConfig { rank: 2, ..lora };
        method.adalora.init_rank = 3;
    }
    methods
}

fn new_layer(method: &MethodConfig, seed: u64, m: usize, n: usize) -> Adapted<f64> {
    let weight: Array2<f64> = normal(seed, 0, m, n);
    let gradient: Array2<f64> = normal(seed, 1, m, n);
    let given = method.gradient_rows().map(|_| gradient.view());
    let stream = Stream::new(seed, Purpose::Init, 0, 0);
    let adapter = method.new_adapter(weight.view().into(), given, stream);
    Adapted::new(weight, adapter.unwrap())
}

proptest! {
    /// Whatever the factors start from, the model is at first that of W. Where their
    /// product is not 0 it is taken off again, to within its own rounding.
    #[test]
    fn every_method_starts_as_the_base(seed: u64, m in 4_usize..10, n in 4_usize..10) {
        for method in methods() {
            let layer = new_layer(&method, seed, m, n);
            let (a, b) = (view2(&layer.acting.a), view2(&layer.acting.b));
            let product = layer.acting.scaling * norm(&a.to_owned()) * norm(&b.to_owned());
            let scale = norm(&layer.weight) + product;
            agree(&layer.adapter.merge(layer.weight.view()), &layer.weight, scale)?;
            prop_assert_eq!(layer.adapter.constant().is_some(), method.init != InitConfig::Kaiming);
        }
    }

    /// On W alone, as it is written to files, an adapter acts as on its own base.
    #[test]
    fn every_method_acts_alike_on_the_weight_alone(
        seed: u64, m in 4_usize..10, n in 4_usize..10,
    ) {
        for method in methods() {
            let layer = new_layer(&method, seed, m, n);
            let weight = layer.weight.view();
            let found = layer.adapter.on_weight_alone().merge(weight);
            let (a, b) = (view2(&layer.acting.a), view2(&layer.acting.b));
            let product = layer.acting.scaling * norm(&a.to_owned()) * norm(&b.to_owned());
            agree(&found, &layer.adapter.merge(weight), norm(&layer.weight) + product)?;
        }
    }

    /// `W' = W + s (B A - B0 A0)`.
    #[test]
    fn the_product_of_the_start_is_taken_off(seed: u64, m in 4_usize..10, n in 4_usize..10) {
        for method in methods() {
            if method.adapter != AdapterKind::Lora {
                continue;
            }
            let start = new_layer(&method, seed, m, n);
            let of = |adapter: &Adapter<f64>, name| view2(adapter.factor(name).unwrap()).to_owned();
            let [a0, b0] = [lora::A, lora::B].map(|name| of(&start.adapter, name));
            let mut adapter = start.adapter.clone();
            *adapter.factor_mut(lora::A).unwrap() = random(seed, 50, 2, n);
            *adapter.factor_mut(lora::B).unwrap() = random(seed, 51, m, 2);
            let [a, b] = [lora::A, lora::B].map(|name| of(&adapter, name));
            let s = method.lora.factor();
            let expected = &start.weight + &((b.dot(&a) - b0.dot(&a0)) * s);
            let scale = norm(&start.weight) + s * (norm(&a) * norm(&b) + norm(&a0) * norm(&b0));
            agree(&adapter.merge(start.weight.view()), &expected, scale)?;
        }
    }
}
